"""Batches: one order for both frameworks, padding, lengths, and the prefetching thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from datasets.batches import Prefetcher, epoch_order, evaluation_batches, fit_length


@pytest.mark.parametrize("count, batch_size", [(10, 3), (12, 4), (7, 7), (1, 1), (100, 1)])
def test_epoch_order_takes_each_sequence_at_most_once(count: int, batch_size: int) -> None:
    order = epoch_order(count, batch_size, seed=0, epoch=0)
    assert order.shape == (count // batch_size, batch_size)
    assert order.dtype == np.int64
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0
    assert order.max() < count


def test_epoch_order_is_a_pure_function() -> None:
    first = epoch_order(1000, 32, seed=3, epoch=2)
    np.random.default_rng(0).random(100)  # other random numbers in between change nothing
    np.testing.assert_array_equal(first, epoch_order(1000, 32, seed=3, epoch=2))


def test_epochs_and_seeds_differ() -> None:
    orders = [epoch_order(1000, 1000, seed, epoch)[0] for seed in range(3) for epoch in range(3)]
    for index, one in enumerate(orders):
        for other in orders[:index]:
            assert (one == other).mean() < 0.02  # two random orders of 1,000 agree in one place on average


def test_ragged_rest_is_another_one_each_epoch() -> None:
    dropped = [set(range(10)) - set(epoch_order(10, 4, 0, epoch).ravel().tolist()) for epoch in range(8)]
    assert all(len(rest) == 2 for rest in dropped)
    assert len(set(map(frozenset, dropped))) > 1


def test_first_positions_are_uniform() -> None:
    # chi-square of where index 0 lands over 2,000 epochs of 10: 9 degrees of freedom, 99.99 % below 33.7
    places = [int(np.flatnonzero(epoch_order(10, 10, 7, epoch)[0] == 0)[0]) for epoch in range(2000)]
    counts = np.bincount(places, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 33.7


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((10, 11, 0, 0), "batch_size=11 is larger than the 10 training sequences; choose 10 or less"),
        ((10, 0, 0, 0), "batch_size=0 must be 1 or more"),
        ((10, 2, -1, 0), "seed=-1 must be 0 or more"),
        ((10, 2.5, 0, 0), r"batch_size=2\.5 must be 1 or more, and a whole number"),
        ((10, True, 0, 0), "batch_size=True must be 1 or more, and a whole number"),
        ((0, 1, 0, 0), "count=0 must be 1 or more"),
        ((10, 2, 0, -1), "epoch=-1 must be 0 or more"),
    ],
)
def test_senseless_orders_are_refused(arguments: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        epoch_order(*arguments)


def test_evaluation_batches_by_hand() -> None:
    batches = [(indices.tolist(), valid) for indices, valid in evaluation_batches(5, 2)]
    assert batches == [([0, 1], 2), ([2, 3], 2), ([4, 4], 1)]
    assert [(indices.tolist(), valid) for indices, valid in evaluation_batches(2, 4)] == [([0, 1, 1, 1], 2)]


@pytest.mark.parametrize("count, batch_size", [(1, 1), (10, 10), (10, 3), (3, 10)])
def test_evaluation_covers_everything_once_at_one_size(count: int, batch_size: int) -> None:
    batches = list(evaluation_batches(count, batch_size))
    assert {indices.shape for indices, _ in batches} == {(batch_size,)}
    seen = np.concatenate([indices[:valid] for indices, valid in batches])
    np.testing.assert_array_equal(seen, np.arange(count))


def test_evaluation_refuses_at_the_call_and_not_later() -> None:
    with pytest.raises(ValueError, match="batch_size=0 must be 1 or more"):
        evaluation_batches(5, 0)


def test_fit_length_cuts_and_repeats() -> None:
    tokens = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    np.testing.assert_array_equal(fit_length(tokens, 2), [[1, 2], [4, 5]])
    np.testing.assert_array_equal(fit_length(tokens, 7), [[1, 2, 3, 1, 2, 3, 1], [4, 5, 6, 4, 5, 6, 4]])
    assert fit_length(tokens, 3) is tokens
    assert fit_length(tokens, None) is tokens
    values = np.ones((2, 3, 4), np.float32)
    assert fit_length(values, 5).shape == (2, 5, 4)
    assert fit_length(values, 5).dtype == np.float32
    with pytest.raises(ValueError, match="length=0 must be 1 or more"):
        fit_length(tokens, 0)


# --- Prefetcher

INPUTS = np.arange(40, dtype=np.float32).reshape(20, 2)
TARGETS = np.arange(20, dtype=np.int32)


def pair(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return inputs, targets


def prefetcher_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetcher"]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert prefetcher_threads() == []


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_prefetcher_gives_the_batches_in_order(depth: int) -> None:
    order = epoch_order(20, 3, seed=0, epoch=0)
    with Prefetcher(INPUTS, TARGETS, order, pair, depth) as batches:
        seen = list(batches)
    assert len(seen) == len(order)
    for indices, (inputs, targets) in zip(order, seen, strict=True):
        np.testing.assert_array_equal(inputs, INPUTS[indices])
        np.testing.assert_array_equal(targets, TARGETS[indices])


def test_prefetcher_of_nothing_ends_at_once() -> None:
    with Prefetcher(INPUTS, TARGETS, [], pair) as batches:
        assert list(batches) == []


def test_prefetcher_works_ahead_by_its_depth_and_no_further() -> None:
    made: list[int] = []

    def put(inputs: np.ndarray, targets: np.ndarray) -> int:
        made.append(int(targets[0]))
        return int(targets[0])

    with Prefetcher(INPUTS, TARGETS, TARGETS[:, None], put, depth=2) as batches:
        steps = iter(batches)
        assert next(steps) == 0
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        # one taken, two waiting, one in the thread's hand
        assert made == [0, 1, 2, 3]


def test_error_in_put_arrives_after_the_good_batches() -> None:
    def put(inputs: np.ndarray, targets: np.ndarray) -> int:
        if targets[0] == 3:
            raise MemoryError("device full")
        return int(targets[0])

    seen: list[int] = []
    batches = Prefetcher(INPUTS, TARGETS, TARGETS[:, None], put)
    with pytest.raises(MemoryError, match="device full"), batches:
        seen.extend(batches)
    assert seen == [0, 1, 2]


def test_error_in_the_order_arrives() -> None:
    with (
        pytest.raises(IndexError, match="out of bounds"),
        Prefetcher(INPUTS, TARGETS, [np.array([99])], pair) as batches,
    ):
        list(batches)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("taken", [0, 1, 5, 19, 20])
def test_early_stop_leaves_no_thread(depth: int, taken: int) -> None:
    for _ in range(20):  # many times, for the thread may be anywhere when it is stopped
        with Prefetcher(INPUTS, TARGETS, TARGETS[:, None], pair, depth) as batches:
            steps = iter(batches)
            for _ in range(taken):
                next(steps)
        assert prefetcher_threads() == []


def test_error_of_the_consumer_stops_the_thread() -> None:
    def consume() -> None:
        with Prefetcher(INPUTS, TARGETS, TARGETS[:, None], pair) as batches:
            for _ in batches:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        consume()
    assert prefetcher_threads() == []


def test_error_while_nobody_listens_does_not_hang() -> None:
    def put(inputs: np.ndarray, targets: np.ndarray) -> int:
        raise RuntimeError("late")

    with Prefetcher(INPUTS, TARGETS, TARGETS[:, None], put, depth=1):
        pass
    assert prefetcher_threads() == []


def test_gathering_overlaps_with_the_consumer() -> None:
    made: list[int] = []
    next_one = threading.Event()

    def put(inputs: np.ndarray, targets: np.ndarray) -> int:
        made.append(len(made))
        next_one.set()
        return made[-1]

    with Prefetcher(INPUTS, TARGETS, TARGETS[:10, None], put) as batches:
        for batch in batches:
            while batch < 9 and made[-1] <= batch:  # nobody asks for the next one while this one is in use
                next_one.clear()
                assert made[-1] > batch or next_one.wait(30)
