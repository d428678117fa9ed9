"""Lengths: of transforms with small factors, and of the chunks that a scan or a table of powers is split into."""

from __future__ import annotations

import math

from scipy.fft import next_fast_len


def transform_length(least: int) -> int:
    """An even length of at least ``least`` with no prime factor above 5, so that half the spectrum is whole."""
    return 2 * next_fast_len((least + 1) // 2, real=True)


def chunk_length(length: int) -> int:
    """About the square root: as many steps within a chunk as there are chunks."""
    return max(1, math.isqrt(max(0, length - 1)) + 1)
