"""What the noise of rounds taken in turns is made of, and what a comparison on this machine can show.

y[turn, process] = log seconds of a round = process + turn (which all processes share) + side x turn (which those of a
side share) + rest. Variances by the method of moments: what the means' own noise adds to a variance is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from bench.measure.waves import LOOK_CONFIDENCE


@dataclass(frozen=True)
class Split:
    """Standard deviations of log seconds: .02 is 2 %. own: of side x turn, zero where one side was measured alone.

    lag: correlation of that with itself one turn later.
    """

    process: float
    drift: float
    rest: float
    own: float = 0.0
    lag: float = 0.0


def split(logs: np.ndarray) -> Split:
    """Of one side: logs (turns, processes), of seconds. NaN without two of each."""
    turns, processes = logs.shape
    if turns < 2 or processes < 2:
        return Split(math.nan, math.nan, math.nan)
    centred = logs - logs.mean(0)
    by_turn = centred.mean(1)
    rest = float((centred - by_turn[:, None]).var() * turns * processes / ((turns - 1) * (processes - 1)))
    process = float(logs.mean(0).var(ddof=1)) - rest / turns
    drift = float(by_turn.var(ddof=1)) - rest / processes
    return Split(_root(process), _root(drift), math.sqrt(rest))


def split_of(sides: Mapping[str, np.ndarray]) -> dict[str, Split]:
    """Of each side, with the part of its drift that the others do not share. logs (turns, processes) a side."""
    found = {}
    for name, logs in sides.items():
        one = split(logs)
        others = [other for label, other in sides.items() if label != name]
        if others:
            apart = logs.mean(1) - np.mean([other.mean(1) for other in others], axis=0)
            noise = one.rest**2 / logs.shape[1] + np.mean([split(o).rest ** 2 / o.shape[1] for o in others])
            variance = float(apart.var(ddof=1)) - noise
            lag = _lag(apart)
            one = Split(one.process, one.drift, one.rest, _root(variance / 2), lag)
        found[name] = one
    return found


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Of the drift that the processes of either side share, turn by turn; NaN where one does not move."""
    a, b = first.mean(1), second.mean(1)
    if a.std() == 0 or b.std() == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def width(one: Split, waves: int, processes: int, turns: int) -> float:
    """The interval that a comparison of two such sides would end with after so many waves, as a share of the ratio."""
    kept = turns * (1 - one.lag) / (1 + one.lag) if 0 < one.lag < 1 else turns  # turns that are worth one of their own
    variance = 2 * (one.process**2 / processes + one.own**2 / max(1.0, kept) + one.rest**2 / (processes * turns))
    return 2 * float(stdtrit(waves - 1, (1 + LOOK_CONFIDENCE) / 2)) * math.sqrt(variance / waves)


def _root(variance: float) -> float:
    return math.sqrt(max(0.0, variance))


def _lag(values: np.ndarray) -> float:
    centred = values - values.mean()
    total = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / total if total > 0 else 0.0
