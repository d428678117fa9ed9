"""Sequences kept as compactly as their files have them, in a memory map perhaps, and made the network's numbers when
they are taken. It stands wherever an array (M, L, C) or (M, L) of the finished numbers could.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Stored:
    """Some rows of an array, as float32 (value / divisor - mean) / std, or, without a divisor, as int32 tokens.

    array (N, L, C) of any real type, or whole numbers (N, ..., L) for tokens. rows (M,): which of them, in which order.
    mean, std: one number, one a channel, or an array (L, C) with one a step. order (L',): the steps that are shown, in
    order; None: all as they are.
    Indexed along its first axis like an array, it gives arrays; `np.asarray` gives all of it.
    """

    array: np.ndarray
    rows: np.ndarray
    divisor: float | None = None
    mean: tuple[float, ...] | np.ndarray = (0.0,)
    std: tuple[float, ...] | np.ndarray = (1.0,)
    order: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        own = (len(self.rows), *self.array.shape[1:])
        if self.order is None:
            return own
        axis = self.length_axis
        return (*own[:axis], len(self.order), *own[axis + 1 :])

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int32 if self.divisor is None else np.float32)

    @property
    def nbytes(self) -> int:
        """Of the finished numbers, all of them."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def length_axis(self) -> int:
        return length_axis(self.array.ndim, self.divisor is None)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = self.rows[index]
        picked = self.array[rows]
        if self.order is not None:
            picked = np.take(picked, self.order, axis=self.length_axis - self.array.ndim)
        if self.divisor is None:
            return np.asarray(picked, np.int32)
        values = picked.astype(np.float32)
        if self.divisor != 1.0:
            values /= np.float32(self.divisor)
        mean, std = self._shown(self.mean), self._shown(self.std)
        if mean.any():
            values -= mean
        if (std != 1.0).any():
            values /= std
        return values

    def _shown(self, statistic: tuple[float, ...] | np.ndarray) -> np.ndarray:
        """float32, of the steps that are shown where there is one a step."""
        own = np.asarray(statistic, np.float32)
        return own if self.order is None or own.ndim < 2 else own[self.order]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Stored: its numbers are made when they are taken, so that there is nothing to share")
        return np.asarray(self[:], dtype)

    def reordered(self, order: np.ndarray) -> Stored:
        """The same with the steps `order` (L',) of those that it shows now."""
        return replace(self, order=order if self.order is None else self.order[order])


def length_axis(dimensions: int, tokens: bool) -> int:
    """Tokens (M, ..., L) have it last, real values (M, L, C) last but one."""
    return dimensions - 1 if tokens else dimensions - 2
