"""What waves of processes show of two sides: a ratio, its interval, and a word. Pure functions of rounds.

A wave starts some processes of each side anew; in each of its turns every process runs one round, in adjacent blocks
that hold one process of each side in an order that was drawn. A block's log ratio loses the drift that both sides
share; a wave's figure is the mean of its blocks' log ratios. What both processes of a side share in one wave (the
machine's mood toward that side) is not seen inside a wave: hence the wave is the unit, and the interval is Student's
on the waves' figures. Looks come after LOOKS waves, each at LEVEL, which keeps the whole rule's false alarms
below 1 - REPORTED (tests/test_waves.py simulates it).

Not here: starting processes, and when to stop for lack of time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LOOKS = (6, 12, 24, 48)
LEVEL = 0.97  # of each look
REPORTED = 0.95  # of all looks together
WORDS = ("equal", "faster", "slower", "cannot tell")
MOST_WAVES = 10_000  # beyond this no number of waves is named


@dataclass(frozen=True)
class Round:
    """One round of one process: which wave, turn and block it stands in, whose it is, seconds per call."""

    wave: int
    turn: int
    block: int
    side: str
    process: int
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """What is known of a's seconds over b's: ratio, interval, word (of side a) and waves.

    more: about how many more waves a word other than "cannot tell" would take; None where one is there, or where the
    waves do not say.
    """

    word: str
    ratio: float
    low: float
    high: float
    waves: int
    more: int | None

    @property
    def width(self) -> float:
        """The interval's full width, as a share of the ratio."""
        return (self.high - self.low) / self.ratio


def wave_figures(rounds: Iterable[Round], a: str, b: str) -> list[float]:
    """The mean log ratio, seconds of a over seconds of b, of each wave, in the waves' order.

    Blocks that lack one of the two (an interrupted turn) are left out, and so is a wave without a whole block.
    ValueError where a block holds a side twice, or seconds are not positive numbers.
    """
    blocks: dict[tuple[int, int, int], dict[str, float]] = {}
    for one in rounds:
        if not (math.isfinite(one.seconds) and one.seconds > 0):
            raise ValueError(f"{one}: a round takes a positive number of seconds")
        block = blocks.setdefault((one.wave, one.turn, one.block), {})
        if one.side in block:
            raise ValueError(f"{one}: its block holds side {one.side} already")
        block[one.side] = one.seconds
    waves: dict[int, list[float]] = {}
    for (wave, _, _), block in sorted(blocks.items()):
        if a in block and b in block:
            waves.setdefault(wave, []).append(math.log(block[a] / block[b]))
    return [float(np.mean(ratios)) for ratios in waves.values()]


def verdict(figures: Sequence[float], margin: float, level: float = LEVEL) -> Verdict:
    """The word on side a, from wave_figures().

    margin: of equivalence, as a share (0.02: 2 %). equal: the whole interval within it. faster, slower: the interval
    leaves 1 out. cannot tell: neither, or fewer than two waves. ValueError without any wave.
    """
    if not figures:
        raise ValueError("figures: none; a verdict needs at least one wave with a whole block")
    mean, count = float(np.mean(figures)), len(figures)
    if count < 2:
        return Verdict("cannot tell", math.exp(mean), 0.0, math.inf, count, None)
    deviation = float(np.std(figures, ddof=1))
    half = half_width(deviation, count, level)
    low, high = mean - half, mean + half
    bound = math.log1p(margin)
    if -bound < low and high < bound:
        word = "equal"
    elif high < 0:
        word = "faster"
    else:
        word = "slower" if low > 0 else "cannot tell"
    more = _more(mean, deviation, count, bound, level) if word == "cannot tell" else None
    return Verdict(word, math.exp(mean), math.exp(low), math.exp(high), count, more)


def half_width(deviation: float, count: int, level: float = LEVEL) -> float:
    """Of Student's interval for the mean of `count` figures with this standard deviation."""
    return float(stats.t.ppf(0.5 + level / 2, count - 1)) * deviation / math.sqrt(count)


def _more(mean: float, deviation: float, count: int, bound: float, level: float) -> int | None:
    """How many more waves until the interval leaves 1 out or lies within the margin, if mean and deviation stay."""
    enough = max(abs(mean), bound - abs(mean))
    low, high = count, MOST_WAVES
    if half_width(deviation, high, level) > enough:
        return None
    while low < high:  # the half width falls with the count
        middle = (low + high) // 2
        low, high = (low, middle) if half_width(deviation, middle, level) < enough else (middle + 1, high)
    return max(1, low - count)


def next_look(waves: int) -> int | None:
    """The number of waves after which the next look comes; None after the last one."""
    return next((look for look in LOOKS if look > waves), None)
