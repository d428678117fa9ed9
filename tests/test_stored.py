"""Stored sequences are the plain NumPy arrays that they stand for: everywhere, to the last bit.

The truth is the whole array converted at once. Also: what a data set must hold to be its own description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import registry
from datasets.batches import Prefetcher, epoch_order, fit_length
from datasets.data import Dataset, Description, Split
from datasets.store.stored import Stored
from settings.problem import Problem

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 5, 3), np.uint8)
SOUND = RNG.integers(-(2**15), 2**15, (9, 6, 1), np.int16)
TOKENS = RNG.integers(0, 200, (9, 7), np.uint8)
DOCUMENTS = RNG.integers(0, 2000, (9, 2, 4), np.int16)
ROWS = np.array([3, 0, 8, 8, 5])  # no order, one twice, some never
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
STEPS = tuple(RNG.random((2, 5, 3), np.float32))  # a mean and a deviation for each step


def scaled(array: np.ndarray, divisor: float, mean: Any = (0.0,), std: Any = (1.0,)) -> np.ndarray:
    """(x / divisor - mean) / std, each operation rounded to float32."""
    quotient = array.astype(np.float32) / np.float32(divisor)
    return (quotient - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)


# name -> (what stands for it, the plain array)
CASES: Mapping[str, tuple[Stored, np.ndarray]] = {
    "pixels": (Stored(PIXELS, ROWS, 255.0), scaled(PIXELS, 255.0)[ROWS]),
    "normalised": (Stored(PIXELS, ROWS, 255.0, MEAN, STD), scaled(PIXELS, 255.0, MEAN, STD)[ROWS]),
    "one mean": (Stored(PIXELS, ROWS, 255.0, (0.5,), (0.5,)), scaled(PIXELS, 255.0, (0.5,), (0.5,))[ROWS]),
    "by step": (Stored(PIXELS, ROWS, 255.0, *STEPS), scaled(PIXELS, 255.0, *STEPS)[ROWS]),
    "by step, ordered": (
        Stored(PIXELS, ROWS, 255.0, *STEPS, order=np.array([4, 2])),
        scaled(PIXELS, 255.0, *STEPS)[ROWS][:, [4, 2]],
    ),
    "undivided": (Stored(SOUND, ROWS, 1.0, std=(3.0,)), scaled(SOUND, 1.0, std=(3.0,))[ROWS]),
    "sound": (Stored(SOUND, ROWS, 32768.0), scaled(SOUND, 32768.0)[ROWS]),
    "every second": (
        Stored(SOUND, ROWS, 32768.0, order=np.arange(0, 6, 2)),
        scaled(SOUND, 32768.0)[ROWS][:, ::2],
    ),
    "tokens": (Stored(TOKENS, ROWS), TOKENS.astype(np.int32)[ROWS]),
    "tokens backwards": (Stored(TOKENS, ROWS, order=np.arange(7)[::-1]), TOKENS.astype(np.int32)[ROWS][:, ::-1]),
    "documents": (Stored(DOCUMENTS, ROWS), DOCUMENTS.astype(np.int32)[ROWS]),
    "documents cut": (
        Stored(DOCUMENTS, ROWS, order=np.array([1, 3])),
        DOCUMENTS.astype(np.int32)[ROWS][..., [1, 3]],
    ),
    "no rows": (Stored(PIXELS, ROWS[:0], 255.0), scaled(PIXELS, 255.0)[ROWS[:0]]),
}
cases = pytest.mark.parametrize("stored, plain", list(CASES.values()), ids=list(CASES))
INDICES = (slice(None), slice(1, 4), slice(None, None, -2), np.array([4, 0, 0]), np.array([], int), [2, 1], 3, -1)


def same(one: np.ndarray, other: np.ndarray) -> None:
    assert type(one) is np.ndarray
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other, strict=True)


@cases
def test_it_has_the_arrays_sizes(stored: Stored, plain: np.ndarray) -> None:
    for name in ("shape", "ndim", "dtype", "nbytes"):
        assert getattr(stored, name) == getattr(plain, name), name
    assert len(stored) == len(plain)


@cases
def test_it_gives_what_the_array_gives(stored: Stored, plain: np.ndarray) -> None:
    for index in INDICES if len(plain) else INDICES[:3]:
        same(stored[index], plain[index])
    with pytest.raises(IndexError):
        stored[[9]]


@cases
def test_it_becomes_an_array(stored: Stored, plain: np.ndarray) -> None:
    same(np.asarray(stored), plain)
    same(np.array(stored, dtype=np.float64), plain.astype(np.float64))
    with pytest.raises(ValueError, match="nothing to share"):
        np.array(stored, copy=False)


@cases
@pytest.mark.parametrize("length", [None, 1, 2, 4, 11])
def test_it_is_cut_and_repeated_like_the_array(stored: Stored, plain: np.ndarray, length: int | None) -> None:
    fitted = fit_length(stored, length)
    same(np.asarray(fitted), fit_length(plain, length))
    assert fitted.shape == fit_length(plain, length).shape
    same(np.asarray(fit_length(fitted, 3)), fit_length(fit_length(plain, length), 3))  # of what is shown, not of all


def test_an_order_is_taken_of_what_is_shown() -> None:
    once = Stored(SOUND, ROWS, 32768.0).reordered(np.array([5, 3, 1]))
    same(np.asarray(once.reordered(np.array([2, 0]))), scaled(SOUND, 32768.0)[ROWS][:, [1, 5]])
    same(np.asarray(once), scaled(SOUND, 32768.0)[ROWS][:, [5, 3, 1]])  # itself unchanged


def test_the_order_of_the_operations_is_the_stated_one() -> None:
    """Another order rounds otherwise, so that the tests above would see it."""
    values = PIXELS.astype(np.float32)
    mean, std = np.float32(MEAN), np.float32(STD)
    other = (values - mean * np.float32(255)) / (std * np.float32(255))
    assert not np.array_equal(other, scaled(PIXELS, 255.0, MEAN, STD))
    np.testing.assert_allclose(other, scaled(PIXELS, 255.0, MEAN, STD), rtol=1e-4, atol=1e-6)


def test_the_source_stays_as_it_is() -> None:
    for source, divisor in ((RNG.random((4, 3, 2), np.float32), 0.5), (RNG.integers(0, 9, (4, 3), np.int32), None)):
        before = source.copy()
        stored = Stored(source, np.arange(4), divisor)
        for index in (slice(None), np.array([1, 2])):
            taken = stored[index]
            taken += 1
        np.testing.assert_array_equal(source, before)


@pytest.mark.parametrize("name", ["normalised", "by step, ordered", "tokens", "documents cut"])
def test_a_memory_map_gives_the_same(tmp_path: Path, name: str) -> None:
    stored, plain = CASES[name]
    np.save(tmp_path / "array.npy", stored.array)
    mapped = replace(stored, array=np.load(tmp_path / "array.npy", mmap_mode="r"))
    assert isinstance(mapped.array, np.memmap)
    for index in INDICES:
        same(np.asarray(mapped[index]), plain[index])


@cases
def test_batches_are_those_of_the_array(stored: Stored, plain: np.ndarray) -> None:
    targets = np.arange(len(plain), dtype=np.int32)
    order = epoch_order(len(plain), 2, seed=1, epoch=0) if len(plain) else np.zeros((0, 2), np.int64)
    with Prefetcher(stored, targets, order, lambda inputs, targets: (inputs, targets)) as batches:
        seen = list(batches)
    assert len(seen) == len(order)
    for indices, (inputs, chosen) in zip(order, seen, strict=True):
        same(inputs, plain[indices])
        same(chosen, targets[indices])


# --- a data set and its description


def dataset(stored: Stored, **changes: Any) -> Dataset:
    """A set of one kind of sequence, its three parts alike; its description is of real values unless changed."""
    split = Split(stored, np.zeros(len(stored), np.int32))
    counts = changes.pop("counts", dict.fromkeys(("train", "validation", "test"), len(stored)))
    problem = Problem(**{"length": 5, "channels": 3, "classes": 2, **changes})
    return Dataset(Description("toy", problem, counts), split, split, split)


TOY = Stored(PIXELS, ROWS, 255.0)
WORDS = {"length": 7, "channels": None, "vocabulary": 200}
PAIRS = {"length": 4, "channels": None, "vocabulary": 2000, "documents": 2}


def test_sets_that_are_as_described_pass() -> None:
    registry._check(dataset(TOY))
    registry._check(dataset(Stored(TOKENS, ROWS), **WORDS))
    registry._check(dataset(Stored(DOCUMENTS, ROWS), **PAIRS))
    plain = Split(np.asarray(TOY), np.zeros(len(ROWS), np.int32))
    registry._check(replace(dataset(TOY), test=plain))


@pytest.mark.parametrize(
    "wrong",
    [
        dataset(TOY, length=6),
        dataset(TOY, channels=1),
        dataset(TOY, counts={"train": 5, "validation": 5, "test": 4}),
        dataset(TOY, counts=None),
        dataset(TOY, **WORDS),
        dataset(TOY.reordered(np.arange(4))),
        dataset(Stored(TOKENS, ROWS), **{**WORDS, "length": 6}),
        dataset(Stored(TOKENS, ROWS), **{**WORDS, "documents": 2}),
        dataset(Stored(DOCUMENTS, ROWS), **{**PAIRS, "documents": 1}),
        dataset(Stored(TOKENS, ROWS), **WORDS, per_step=True),
        dataset(Stored(np.asfortranarray(PIXELS), ROWS, 255.0)),
        replace(dataset(TOY), validation=Split(TOY, np.zeros(4, np.int32))),
        replace(dataset(TOY), test=Split(TOY, np.zeros(5, np.int64))),
        replace(dataset(TOY), train=Split(np.asarray(TOY, np.float64), np.zeros(5, np.int32))),
    ],
)
def test_a_set_that_is_not_as_described_is_our_mistake(wrong: Dataset) -> None:
    with pytest.raises(AssertionError):
        registry._check(wrong)
