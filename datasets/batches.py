"""The batches of a run: which sequences, in which order, at which length. Both frameworks get the same ones.

Batches have one size, so that nothing recompiles: training drops the ragged rest of an epoch, evaluation
pads it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np

from datasets.store.stored import Stored, length_axis
from settings.problem import Problem

BatchT = TypeVar("BatchT")
InputsT = TypeVar("InputsT", np.ndarray, Stored)

# Sets the random numbers of the batch order apart from those of the validation cut under the same seed.
_ORDER_STREAM = 2


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Indices of one epoch's training batches, int64 (count // batch_size, batch_size).

    A pure function of its arguments: each of the `count` sequences comes at most once, and the
    count % batch_size that are left over are others in every epoch.
    """
    _at_least("count", count, 1)
    _at_least("batch_size", batch_size, 1)
    _at_least("seed", seed, 0)
    _at_least("epoch", epoch, 0)
    if batch_size > count:
        raise ValueError(
            f"batch_size={batch_size} is larger than the {count} training sequences; choose {count} or less"
        )
    stream = np.random.SeedSequence(seed, spawn_key=(_ORDER_STREAM, epoch))
    steps = count // batch_size
    order = np.random.default_rng(stream).permutation(count)[: steps * batch_size]
    return order.astype(np.int64).reshape(steps, batch_size)


def evaluation_batches(count: int, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """All of range(count) in order: (indices int64 (batch_size,), how many of them count).

    The last batch is filled up by repeating its last index; `batch_size` may be larger than `count`.
    """
    _at_least("count", count, 1)
    _at_least("batch_size", batch_size, 1)
    starts = range(0, count, batch_size)
    return (
        (np.minimum(np.arange(start, start + batch_size), count - 1), min(batch_size, count - start))
        for start in starts
    )


def fit_length(inputs: InputsT, length: int | None) -> InputsT:
    """Real inputs (M, L, C), or tokens (M, ..., L), cut to their first `length` steps, or repeated to reach them; None
    keeps L.
    """
    axis = length_axis(inputs.ndim, np.issubdtype(inputs.dtype, np.integer))
    own = inputs.shape[axis]
    if length is None or length == own:
        return inputs
    _at_least("length", length, 1)
    _at_least("the sequences' own length", own, 1)
    order = np.arange(length) % own
    return inputs.reordered(order) if isinstance(inputs, Stored) else np.take(inputs, order, axis=axis)


def at_length(inputs: InputsT, targets: np.ndarray, problem: Problem) -> tuple[InputsT, np.ndarray]:
    """Inputs, and targets (M,) or (M, L), with sequences of the problem's length."""
    length = problem.length
    return fit_length(inputs, length), fit_length(targets, length) if problem.per_step else targets


def _at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}={value!r} must be {least} or more, and a whole number; set {name}={least}")


class Prefetcher(Generic[BatchT]):
    """Gathers the next batches in a background thread while the device computes; iterate over it once.

        with Prefetcher(split.inputs, split.targets, epoch_order(...), trainer.put) as batches:
            for batch in batches: ...

    inputs (M, ...), targets (M,); `order` yields index arrays (B,); `put` takes the gathered inputs and
    targets and returns what is iterated over. At most `depth` finished batches wait. An error in `order` or
    `put` is raised where the batch was expected. Leaving the `with` block ends the thread, read to the end or
    not.
    """

    def __init__(
        self,
        inputs: np.ndarray | Stored,
        targets: np.ndarray,
        order: Iterable[np.ndarray],
        put: Callable[[np.ndarray, np.ndarray], BatchT],
        depth: int = 2,
    ) -> None:
        _at_least("depth", depth, 1)
        self._inputs, self._targets, self._order, self._put = inputs, targets, order, put
        self._ready: queue.Queue[tuple[BatchT] | None] = queue.Queue(depth)
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="prefetcher", daemon=True)

    def __enter__(self) -> Prefetcher[BatchT]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[BatchT]:
        assert self._thread.ident is not None, "use it in a with statement"
        while not self._closed.is_set():
            item = self._ready.get()
            if item is None:
                self._closed.set()
                if self._error is not None:
                    raise self._error
                return
            yield item[0]

    def close(self) -> None:
        """Stop the thread and wait for it; batches that nobody took are dropped. Safe to call again."""
        self._closed.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._ready.get(timeout=0.01)  # makes room, should the thread be waiting for it

    def _work(self) -> None:
        try:
            for indices in self._order:
                if self._closed.is_set():
                    return
                self._ready.put((self._put(self._inputs[indices], self._targets[indices]),))
        except BaseException as error:  # noqa: BLE001 - carried to the consumer, who raises it
            self._error = error
        self._ready.put(None)
