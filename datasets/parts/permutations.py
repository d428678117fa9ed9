"""Fixed orders of the 784 pixels for permuted MNIST, by the names under which the literature uses them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def random42(count: int) -> np.ndarray:
    """S4Torch's order: RandomState(42).permutation(count), int64 (count,)."""
    return np.random.RandomState(42).permutation(count).astype(np.int64)


def bit_reversal(count: int) -> np.ndarray:
    """The order of the S4 and S5 repositories' psMNIST, int64 (count,).

    0 .. 2^k - 1 with their k bits reversed, k the least with 2^k >= count, keeping values below count.
    """
    bits = (count - 1).bit_length()
    values = np.arange(1 << bits)
    reversed_values = np.zeros_like(values)
    for bit in range(bits):
        reversed_values |= ((values >> bit) & 1) << (bits - 1 - bit)
    return reversed_values[reversed_values < count].astype(np.int64)


PERMUTATIONS: dict[str, Callable[[int], np.ndarray]] = {"random42": random42, "bit_reversal": bit_reversal}
