"""What a machine's noise is made of, from processes of one configuration that took turns. Pure functions of seconds.

log seconds of process p in turn t = level + process p + turn t + rest: an analysis of variance in two directions,
balanced, one round a cell. Processes differ for good (the placement of memory); turns are the drift that all feel
alike, which pairing removes; the rest is what pairing leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Noise:
    """Standard deviations of log seconds; a variance whose estimate is negative counts as 0.

    processes, turns, rest: as above. turn_effects (T,): each turn's effect, for holding two configurations' drift
    against each other.
    """

    processes: float
    turns: float
    rest: float
    turn_effects: np.ndarray


def split(seconds: np.ndarray) -> Noise:
    """seconds (P, T) of P >= 2 processes in T >= 2 turns -> the parts of their noise. ValueError for other shapes."""
    logs = np.log(np.asarray(seconds, np.float64))
    if logs.ndim != 2 or min(logs.shape) < 2 or not np.isfinite(logs).all():
        raise ValueError(f"seconds {logs.shape}: must be positive, of two processes or more in two turns or more")
    count, turns = logs.shape
    rows, columns = logs.mean(1, keepdims=True), logs.mean(0, keepdims=True)
    rest = float(np.sum((logs - rows - columns + logs.mean()) ** 2) / ((count - 1) * (turns - 1)))
    of_rows, of_columns = float(np.var(rows, ddof=1)), float(np.var(columns, ddof=1))
    return Noise(
        processes=math.sqrt(max(0.0, of_rows - rest / turns)),
        turns=math.sqrt(max(0.0, of_columns - rest / count)),
        rest=math.sqrt(rest),
        turn_effects=(columns - logs.mean())[0],
    )


def shared(a: Noise, b: Noise) -> float:
    """The correlation of two configurations' drift over the same turns; NaN where one has none."""
    first, second = a.turn_effects, b.turn_effects
    if first.shape != second.shape:
        raise ValueError(f"turns: {len(first)} and {len(second)}; both must have run in the same turns")
    if not (np.ptp(first) and np.ptp(second)):
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])
