"""Verdicts from waves: numbers worked by hand, and the whole stopping rule by simulation with measured variances."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.measure.noise import shared, split
from bench.measure.waves import LOOKS, REPORTED, Round, next_look, verdict, wave_figures

# Standard deviations of log seconds, measured with S5 and S4 at demo size on 2 virtual cores: between processes,
# shared drift between rounds, what is left, and an effect of side x turn (lag-1 correlation .7).
PROCESSES, REST, SIDE_TURN, LAG = 0.024, 0.08, 0.04, 0.7
TURNS, EACH = 12, 2
GAP = 6  # turns that starting and compiling take, between two waves


def simulated(rng: np.random.Generator, sittings: int, waves: int) -> np.ndarray:
    """Figures (sittings, waves) of a against a: mean over TURNS and EACH pairs of the log ratios."""
    processes = rng.normal(0, PROCESSES, (sittings, waves, 2, EACH)).mean(-1)
    rest = rng.normal(0, REST, (sittings, waves, 2, TURNS, EACH)).mean((-1, -2))
    # one series for each sitting and side, which runs on while a wave's processes start
    steps = rng.normal(0, SIDE_TURN * math.sqrt(1 - LAG**2), (waves * (TURNS + GAP), sittings, 2))
    series = np.empty_like(steps)
    series[0] = rng.normal(0, SIDE_TURN, (sittings, 2))
    for turn in range(1, len(steps)):
        series[turn] = LAG * series[turn - 1] + steps[turn]
    side = series.reshape(waves, TURNS + GAP, sittings, 2)[:, GAP:].mean(1).transpose(1, 0, 2)
    total = processes + rest + side
    return total[..., 0] - total[..., 1]


def test_a_figure_is_the_mean_log_ratio_of_whole_blocks():
    rounds = [
        Round(0, 0, 0, "a", 0, 2.0), Round(0, 0, 0, "b", 1, 1.0),
        Round(0, 1, 0, "b", 1, 1.0), Round(0, 1, 0, "a", 0, 8.0),
        Round(1, 0, 0, "a", 2, 3.0), Round(1, 0, 0, "b", 3, 3.0),
        Round(1, 1, 0, "a", 2, 9.0),  # interrupted before b
        Round(2, 0, 0, "a", 4, 9.0),
    ]  # fmt: skip
    assert wave_figures(rounds, "a", "b") == pytest.approx([2 * math.log(2), 0.0])
    assert wave_figures(rounds, "b", "a") == pytest.approx([-2 * math.log(2), 0.0])


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_seconds_that_are_none_are_refused(seconds):
    with pytest.raises(ValueError, match="positive number of seconds"):
        wave_figures([Round(0, 0, 0, "a", 0, seconds)], "a", "b")


def test_a_block_holds_each_side_once():
    with pytest.raises(ValueError, match="holds side a already"):
        wave_figures([Round(0, 0, 0, "a", 0, 1.0), Round(0, 0, 0, "a", 1, 1.0)], "a", "b")


def test_the_interval_is_student_s():
    """Mean .1, deviation .02, 6 waves: t(.985, 5 degrees) = 3.0029 (tables: 3.003)."""
    figures = [0.1 - 0.02, 0.1 + 0.02, 0.1 - 0.02, 0.1 + 0.02, 0.1, 0.1]
    found = verdict(figures, 0.02)
    half = 3.0029 * math.sqrt(4 * 0.02**2 / 5) / math.sqrt(6)
    assert found.word == "slower"
    assert math.log(found.low) == pytest.approx(0.1 - half, rel=1e-4)
    assert math.log(found.high) == pytest.approx(0.1 + half, rel=1e-4)
    assert found.ratio == pytest.approx(math.exp(0.1))


@pytest.mark.parametrize(
    "mean, spread, word",
    [
        (0.0, 0.001, "equal"),
        (0.01, 0.001, "equal"),  # leaves 1 out, but lies within the margin
        (0.05, 0.001, "slower"),
        (-0.05, 0.001, "faster"),
        (0.05, 0.2, "cannot tell"),
        (0.02, 0.02, "cannot tell"),
    ],
)
def test_the_word(mean, spread, word):
    figures = [mean - spread, mean + spread] * 3
    assert verdict(figures, 0.02).word == word


def test_how_many_more_waves_is_what_it_takes_with_the_same_figures():
    figures = [0.03 - 0.05, 0.03 + 0.05] * 3
    found = verdict(figures, 0.02)
    assert found.word == "cannot tell"
    assert found.more is not None
    deviation = np.std(figures, ddof=1)

    def enough(count: int) -> bool:  # the same mean and deviation in `count` waves
        rest = np.array(([-1.0, 1.0] * count)[:count])
        rest = (rest - rest.mean()) / np.std(rest, ddof=1)
        return verdict(list(0.03 + deviation * rest), 0.02).word != "cannot tell"

    assert enough(6 + found.more)
    assert not enough(6 + found.more - 1)


def test_one_wave_tells_nothing():
    found = verdict([0.5], 0.02)
    assert (found.word, found.waves, found.more) == ("cannot tell", 1, None)
    with pytest.raises(ValueError, match="at least one wave"):
        verdict([], 0.02)


def test_looks_come_in_order():
    assert [next_look(waves) for waves in (0, 6, 7, 12, 24, 48)] == [6, 12, 12, 24, 48, None]


def test_false_alarms_of_the_whole_rule_and_coverage_are_what_is_reported():
    """Looks at 6, 12, 24 and 48 waves until the interval is narrow: margin 0, so that every wrong word counts."""
    sittings, width = 6_000, 0.05
    figures = simulated(np.random.default_rng(0), sittings, LOOKS[-1])
    alarms = covered = 0
    for own in figures:
        for look in LOOKS:
            found = verdict(own[:look].tolist(), 0.0)
            if found.width < width or look == LOOKS[-1]:
                alarms += found.word in ("faster", "slower")
                covered += found.low <= 1 <= found.high
                break
    assert alarms / sittings < 1 - REPORTED
    assert 0.94 <= covered / sittings <= 0.96


def test_a_slowdown_of_a_tenth_is_found():
    figures = simulated(np.random.default_rng(1), 500, 24) + math.log(1.1)
    assert np.mean([verdict(own.tolist(), 0.02).word == "slower" for own in figures]) > 0.99


def test_noise_is_split_into_its_parts():
    rng = np.random.default_rng(0)
    parts = (0.02, 0.12, 0.06)
    found = []
    for _ in range(200):
        process, turn = rng.normal(0, parts[0], (10, 1)), rng.normal(0, parts[1], (1, 32))
        found.append(split(np.exp(process + turn + rng.normal(0, parts[2], (10, 32)))))
    means = [math.sqrt(np.mean([getattr(one, name) ** 2 for one in found])) for name in ("processes", "turns", "rest")]
    assert means == pytest.approx(parts, rel=0.1)


def test_drift_that_two_configurations_share_is_seen():
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.1, (1, 400))
    a, b = (split(np.exp(common + rng.normal(0, 0.1, (1, 400)) + rng.normal(0, 0.01, (4, 400)))) for _ in range(2))
    assert shared(a, b) == pytest.approx(0.5, abs=0.1)
    with pytest.raises(ValueError, match="same turns"):
        shared(a, split(np.ones((2, 3))))


@pytest.mark.parametrize("seconds", [np.ones((1, 5)), np.ones((5, 1)), np.ones(5), -np.ones((3, 3))])
def test_what_cannot_be_split_is_refused(seconds):
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="two processes or more"):
        split(seconds)
