"""Medians and interquartile ranges: pure functions of samples.

They describe a process, and compare nothing: what differs between two processes, and what the machine did meanwhile,
they do not see. Verdicts are made of waves (bench/measure/waves.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

WIDE = 0.25  # of the median


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """{'median', 'iqr', 'samples'} in the samples' unit; quartiles interpolate between samples."""
    values = _checked(samples, "samples")
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "iqr": float(high - low), "samples": values.tolist()}


def is_wide(median: float, iqr: float) -> bool:
    """Whether the interquartile range says that the median is a rough one: it is above a quarter of it."""
    return iqr > WIDE * abs(median)


def _checked(samples: Sequence[float], name: str) -> np.ndarray:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"{name}: {samples!r} is no list of one or more finite numbers")
    return values
