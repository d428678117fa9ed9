"""Lengths: of transforms with small factors, and of the chunks that a scan or a table of powers is split into."""

from __future__ import annotations

import math


def transform_length(least: int) -> int:
    """The smallest even length of at least ``least`` with no prime factor above 5, so that half the spectrum is whole.

    Plain Python on whole numbers, so that compilers can evaluate it while they trace.
    """
    best = 2
    while best < least:
        best *= 2
    five = 1
    while 2 * five <= best:
        three = five
        while 2 * three <= best:
            size = 2 * three
            while size < least:
                size *= 2
            best = min(best, size)
            three *= 3
        five *= 5
    return best


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of ``number`` that is at most ``most`` (at least 1): pieces of one size, none left over."""
    return next(size for size in range(max(1, min(most, number)), 0, -1) if number % size == 0)


def chunk_length(length: int) -> int:
    """About the square root: as many steps within a chunk as there are chunks."""
    return max(1, math.isqrt(max(0, length - 1)) + 1)
