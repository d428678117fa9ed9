"""Medians, interquartile ranges and the ratio of two medians with its uncertainty. Pure functions of samples.

What they do not see: what differs between two processes but not within one (the placement of memory, a
clock that changed between the runs). Two records of the same command show that noise floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MINIMUM_SAMPLES = 5
RESAMPLES = 4000
CONFIDENCE = 0.95
WIDE = 0.25  # of the median


@dataclass(frozen=True)
class Ratio:
    """The ratio of two medians; low and high bound its 95 % interval (no width with one sample a side)."""

    value: float
    low: float
    high: float
    distinguishable: bool
    reason: str  # why they can, or cannot, be told apart


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """{'median', 'iqr', 'samples'} in the samples' unit; quartiles interpolate between samples."""
    values = _checked(samples, "samples")
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "iqr": float(high - low), "samples": values.tolist()}


def is_wide(median: float, iqr: float) -> bool:
    """Whether the interquartile range says that the median is a rough one: it is above a quarter of it."""
    return iqr > WIDE * abs(median)


def ratio(a_samples: Sequence[float], b_samples: Sequence[float], seed: int = 0) -> Ratio:
    """median(a) / median(b) with a 95 % percentile bootstrap interval, and whether the two can be told apart.

    They are distinguishable when all three hold: at least 5 samples a side, the interval leaves 1 out, and
    the interquartile ranges do not overlap. One of the last two alone is not enough. With 5 samples, which
    is what a run takes, the ranges of equal quantities miss each other one time in five; with 20 samples
    the bootstrap calls equal quantities different in 4 of 100 cases. Together they do so in at most 3 of
    100 from 5 samples on (simulated, log-normal noise), and in 10 of 100 with 3 samples: hence the minimum.
    """
    a, b = _checked(a_samples, "a_samples"), _checked(b_samples, "b_samples")
    if a.min() <= 0 or b.min() <= 0:
        raise ValueError(f"samples: {min(a.min(), b.min())} is not positive; a ratio needs positive quantities")
    generator = np.random.default_rng(seed)
    resampled_a = np.median(generator.choice(a, (RESAMPLES, a.size)), axis=1)
    resampled_b = np.median(generator.choice(b, (RESAMPLES, b.size)), axis=1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(resampled_a / resampled_b, [tail, 100 - tail])
    reason, apart = _verdict(a, b, float(low), float(high))
    return Ratio(float(np.median(a) / np.median(b)), float(low), float(high), apart, reason)


def _verdict(a: np.ndarray, b: np.ndarray, low: float, high: float) -> tuple[str, bool]:
    if min(a.size, b.size) < MINIMUM_SAMPLES:
        return f"fewer than {MINIMUM_SAMPLES} samples", False
    if low <= 1 <= high:
        return "the 95 % interval of the ratio contains 1", False
    (a_low, a_high), (b_low, b_high) = np.percentile(a, [25, 75]), np.percentile(b, [25, 75])
    if a_low <= b_high and b_low <= a_high:
        return "the interquartile ranges overlap", False
    return "the 95 % interval leaves 1 out and the interquartile ranges are apart", True


def _checked(samples: Sequence[float], name: str) -> np.ndarray:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"{name}: {samples!r} is no list of one or more finite numbers")
    return values
