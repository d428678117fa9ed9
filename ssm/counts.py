"""Operation counts that several layers share: 2 a multiply-add, 2.5 n log2 n a real transform of length n."""

from __future__ import annotations

import math


def real_transform(size: int) -> float:
    """Operations of one real discrete Fourier transform of ``size`` points."""
    return 2.5 * size * math.log2(max(2, size))


def convolution(batch: int, channels: int, length: int, directions: int) -> float:
    """Operations of a zero-padded convolution by transforms, skip connection included."""
    size = 2 * length
    transforms = (2 * batch + directions) * channels * real_transform(size)
    return transforms + batch * channels * (6.0 * (size // 2 + 1) + 2.0 * length)
