"""A verdict from waves: each wave's figure is one observation, so that what a wave's processes share counts as noise.

The interval is Student's t on the waves' figures, looked at after 6, 12, 24 and 48 waves, each time at 97.5 %: with
that many looks 95 % are left (tests/test_waves.py simulates it, drift and all). Logarithms of ratios in, ratios out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LOOKS = (6, 12, 24, 48)  # waves after which it is looked whether to stop
LOOK_CONFIDENCE = 0.975  # of each look: at .97, 5.1 % of equal sides are called different (simulated)
CONFIDENCE = 0.95  # of all of them together, as reported
LEAST_WAVES = 3  # two figures give an interval 21 times as wide as their spread, which says nothing
MOST_WAVES = 1000  # that are advised
EQUAL, FASTER, SLOWER, UNKNOWN = "equal", "faster", "slower", "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """What the waves say of one side against another. ratio: of its seconds to theirs; low, high: the 95 % interval,
    None with fewer than LEAST_WAVES. more: waves that it would still take, as far as these can tell; None where the
    word is there, or where more than MOST_WAVES would not do.
    """

    word: str
    ratio: float
    low: float | None
    high: float | None
    waves: int
    more: int | None = None

    @property
    def width(self) -> float:
        """Of the interval, as a share of the ratio; infinite without one."""
        return math.inf if self.low is None or self.high is None else (self.high - self.low) / self.ratio


def verdict(figures: Sequence[float], margin: float) -> Verdict:
    """figures: a wave's mean logarithm of the ratio each. margin: of equivalence, .02 for 2 %."""
    count = len(figures)
    if not count:
        raise ValueError("figures: none is there; a verdict needs a wave")
    values = np.asarray(figures, np.float64)
    centre = float(values.mean())
    if count < LEAST_WAVES:
        return Verdict(UNKNOWN, math.exp(centre), None, None, count, LOOKS[0] - count)
    spread = float(values.std(ddof=1))
    half = _half(spread, count)
    low, high = math.exp(centre - half), math.exp(centre + half)
    word = _word(low, high, margin)
    more = waves_needed(centre, spread, margin, count) if word == UNKNOWN else None
    return Verdict(word, math.exp(centre), low, high, count, more)


def _word(low: float, high: float, margin: float) -> str:
    if 1 / (1 + margin) <= low and high <= 1 + margin:
        return EQUAL
    if high < 1:
        return FASTER
    return SLOWER if low > 1 else UNKNOWN


def waves_needed(centre: float, spread: float, margin: float, have: int) -> int | None:
    """How many more waves like these would lead to a word: the interval leaves 1 out, or comes to lie in the margin."""
    room = max(abs(centre), math.log1p(margin) - abs(centre))
    return next((count - have for count in range(have + 1, MOST_WAVES + 1) if _half(spread, count) < room), None)


def is_look(count: int) -> bool:
    """Whether it is looked after so many waves. Where time runs out, that is a look too, in place of the next."""
    return count in LOOKS


def _half(spread: float, count: int) -> float:
    """Half of the interval's width, in the figures' unit."""
    return float(stdtrit(count - 1, (1 + LOOK_CONFIDENCE) / 2)) * spread / math.sqrt(count)


def share(ratios: Sequence[float]) -> float:
    """A wave's figure: the mean logarithm of its pairs' ratios."""
    return float(np.mean(np.log(np.asarray(ratios, np.float64))))
