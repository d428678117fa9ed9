"""Constants for an exponential within 0.6 units of the last place in every framework.

exp(x) = 2^(k / PARTS) exp(r) with k = round(PARTS x / log 2) and r = x - k log 2 / PARTS, |r| < 0.022: with the root of
two as a sum of two numbers only the last addition rounds.
"""

from __future__ import annotations

import numpy as np

PARTS = 16
# log 2 / PARTS in two parts; the first has 9 bits, so that its product with k is exact
LOG_HIGH = 0.693359375 / PARTS
LOG_LOW = (float(np.log(2.0)) - 0.693359375) / PARTS
FARTHEST = 2048 * PARTS  # k stays within: twice as far as any type's range, where the last exponential decides alone


def roots_of_two(dtype: type[np.floating]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """2^(j / PARTS), j = 0 ... PARTS - 1, as its nearest number of the type, and what is missing."""
    exact = np.exp2(np.arange(PARTS, dtype=np.longdouble) / PARTS)
    high = exact.astype(dtype)
    return tuple(map(float, high)), tuple(map(float, exact - high))


ROOTS = {4: roots_of_two(np.float32), 8: roots_of_two(np.float64)}  # by bytes, plain numbers: compilers trace them
