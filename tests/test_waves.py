"""The verdict of waves: worked by hand, and by simulation of what the noise of real machines is made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.measure import noise, waves
from bench.measure.waves import EQUAL, FASTER, LOOKS, SLOWER, UNKNOWN, verdict


def test_the_interval_is_student_s_by_hand():
    figures = np.log([0.9, 1.0, 0.95, 1.02])
    half = stats.t.ppf(0.9875, 3) * figures.std(ddof=1) / 2
    found = verdict(figures.tolist(), 0.02)
    assert found.ratio == pytest.approx(math.exp(figures.mean()))
    assert math.log(found.high / found.ratio) == pytest.approx(half)
    assert math.log(found.ratio / found.low) == pytest.approx(half)
    assert found.width == pytest.approx((found.high - found.low) / found.ratio)


@pytest.mark.parametrize(
    ("centre", "spread", "word"),
    [(0.0, 0.005, EQUAL), (-0.2, 0.01, FASTER), (0.2, 0.01, SLOWER), (0.01, 0.05, UNKNOWN), (0.03, 0.004, SLOWER)],
)
def test_words(centre, spread, word):
    figures = centre + spread * np.array([-1.0, 1.0, -0.5, 0.5, 0.2, -0.2])
    assert verdict(figures.tolist(), 0.02).word == word


def test_a_difference_within_the_margin_is_equal_even_where_it_is_certain():
    figures = 0.01 + 1e-4 * np.array([-1.0, 1.0, 0.0])
    assert verdict(figures.tolist(), 0.02).word == EQUAL
    assert verdict(figures.tolist(), 0.005).word == SLOWER


@pytest.mark.parametrize("count", [1, 2])
def test_few_waves_never_decide(count):
    found = verdict([1.0] * count, 0.02)
    assert (found.word, found.low, found.high, found.width) == (UNKNOWN, None, None, math.inf)
    assert found.more == LOOKS[0] - count


def test_no_wave_is_refused():
    with pytest.raises(ValueError, match="figures: none"):
        verdict([], 0.02)


def test_advice_is_the_number_of_waves_that_leads_to_a_word():
    figures = 0.015 + 0.03 * np.array([-1.0, 1.0, -0.5, 0.5, 0.2, -0.2])
    found = verdict(figures.tolist(), 0.02)
    assert found.word == UNKNOWN
    spread, total = figures.std(ddof=1), 6 + found.more
    room = max(figures.mean(), math.log(1.02) - figures.mean())

    def half(count):
        return stats.t.ppf(0.9875, count - 1) * spread / math.sqrt(count)

    assert half(total) < room <= half(total - 1)


def test_advice_ends_where_it_would_take_too_long():
    assert verdict([0.5, -0.5, 0.4, -0.4, 0.01, 0.0], 1e-6).more is None


def drawn(rng, turns, processes, effect, sd=(0.02, 0.12, 0.07), own=0.04, lag=0.7):
    """Log seconds (turns, processes) of both sides of a wave: the variances of issue and README, drift that both share,
    and an effect of side x turn that the processes of a side share.
    """
    shared = walk(rng, turns, sd[1], 0.9)
    sides = []
    for shift in (0.0, effect):
        alone = walk(rng, turns, own, lag)
        process = sd[0] * rng.standard_normal(processes)
        sides.append(shift + (shared + alone)[:, None] + process + sd[2] * rng.standard_normal((turns, processes)))
    return sides


def walk(rng, turns, sd, lag):
    values = np.empty(turns)
    values[0] = sd * rng.standard_normal()
    for turn in range(1, turns):
        values[turn] = lag * values[turn - 1] + sd * math.sqrt(1 - lag**2) * rng.standard_normal()
    return values


def ended(rng, effect, margin=0.02, width=0.05, processes=2, turns=12, last=48):
    """The verdict of a whole comparison with its stopping rule."""
    figures = []
    while True:
        a, b = drawn(rng, turns, processes, effect)
        figures.append(waves.share(np.exp(b - a).ravel()))
        if waves.is_look(len(figures)):
            found = verdict(figures, margin)
            if found.width < width or len(figures) >= last:
                return found


TRIALS = 1500  # a share of .05 is known to .0056


@pytest.fixture(scope="module")
def alike():
    rng = np.random.default_rng(0)
    return [ended(rng, 0.0, width=width) for width in (0.05, 0.1) for _ in range(TRIALS)]


def test_false_alarms_of_the_whole_stopping_rule_are_below_5_percent(alike):
    called = np.mean([one.word in (FASTER, SLOWER) for one in alike])
    assert called < 0.05 + 2 * math.sqrt(0.05 * 0.95 / len(alike))


def test_intervals_hold_the_truth_95_times_in_100(alike):
    rng = np.random.default_rng(1)
    effects = [ended(rng, 0.1) for _ in range(TRIALS)]
    held = [one.low <= 1 <= one.high for one in alike] + [one.low <= math.exp(0.1) <= one.high for one in effects]
    assert 0.94 < np.mean(held) < 0.98


@pytest.mark.parametrize("count", LOOKS)
def test_the_interval_of_each_look_alone_covers_what_it_says(count):
    rng = np.random.default_rng(count)
    trials = 1000
    held = 0
    for _ in range(trials):
        figures = [waves.share(np.exp(b - a).ravel()) for a, b in (drawn(rng, 12, 2, 0.05) for _ in range(count))]
        found = verdict(figures, 0.02)
        held += found.low <= math.exp(0.05) <= found.high
    share = waves.LOOK_CONFIDENCE
    assert abs(held / trials - share) < 4 * math.sqrt(share * (1 - share) / trials)


def test_ten_percent_is_always_found_and_five_almost():
    rng = np.random.default_rng(2)
    assert all(ended(rng, math.log(1.1)).word == SLOWER for _ in range(100))
    assert np.mean([ended(rng, math.log(1.05)).word == SLOWER for _ in range(100)]) > 0.9


def test_what_single_processes_would_call_different():
    """Why the unit is a wave: t on processes of one wave, whose side x turn effect they share, raises false alarms."""
    rng = np.random.default_rng(3)
    called = 0
    for _ in range(400):
        a, b = (side.mean(0) for side in drawn(rng, 12, 5, 0.0))
        called += stats.ttest_ind(a, b).pvalue < 0.05
    assert called / 400 > 0.1


def test_the_parts_of_noise_that_were_put_in_are_found():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(60):
        a, b = drawn(rng, 60, 4, 0.0)
        found.append(noise.split_of({"a": a, "b": b})["a"])
    process = math.sqrt(np.mean([one.process**2 for one in found]))
    rest = math.sqrt(np.mean([one.rest**2 for one in found]))
    own = math.sqrt(np.mean([one.own**2 for one in found]))
    drift = math.sqrt(np.mean([one.drift**2 for one in found]))
    assert process == pytest.approx(0.02, rel=0.25)
    assert rest == pytest.approx(0.07, rel=0.05)
    assert own == pytest.approx(0.04, rel=0.2)
    assert drift == pytest.approx(math.hypot(0.12, 0.04), rel=0.2)


def test_one_process_or_one_turn_has_no_split():
    assert math.isnan(noise.split(np.zeros((5, 1))).process)
    assert math.isnan(noise.split(np.zeros((1, 5))).drift)


def test_more_waves_promise_a_narrower_interval():
    one = noise.Split(0.02, 0.12, 0.07, 0.04, 0.7)
    widths = [noise.width(one, count, 2, 12) for count in LOOKS]
    assert widths == sorted(widths, reverse=True)
    assert 0.02 < widths[-1] < widths[0] < 0.3
