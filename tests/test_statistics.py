"""Medians, quartiles and ratios, on numbers worked by hand; the verdict on samples drawn alike and apart."""

from __future__ import annotations

import numpy as np
import pytest

from bench.measure.statistics import ratio, summary


def test_median_and_range_by_hand():
    # sorted 1 2 3 4: quartiles at positions 0.75 and 2.25: 1.75 and 3.25
    assert summary([4.0, 1.0, 3.0, 2.0]) == {"median": 2.5, "iqr": 1.5, "samples": [4.0, 1.0, 3.0, 2.0]}
    assert summary([1, 2, 3, 4, 100]) == {"median": 3.0, "iqr": 2.0, "samples": [1.0, 2.0, 3.0, 4.0, 100.0]}
    assert summary([7.0]) == {"median": 7.0, "iqr": 0.0, "samples": [7.0]}


@pytest.mark.parametrize("samples", [[], [float("nan")], [1.0, float("inf")], [[1.0]]])
def test_no_samples_or_no_numbers_are_refused(samples):
    with pytest.raises(ValueError, match="samples"):
        summary(samples)


def test_a_ratio_of_samples_without_spread_is_exact():
    result = ratio([2.0] * 5, [4.0] * 5)
    assert (result.value, result.low, result.high) == (0.5, 0.5, 0.5)
    assert result.distinguishable


def test_the_ratio_is_of_medians():
    assert ratio([1.0, 2.0, 90.0, 3.0, 4.0], [1.0, 1.5, 2.0, 0.1, 9.0]).value == 2.0


def test_clearly_different_samples_are_told_apart_both_ways():
    slow, fast = [10.0, 10.2, 9.9, 10.1, 10.3], [5.0, 5.1, 4.9, 5.2, 5.05]
    assert ratio(slow, fast).distinguishable
    assert ratio(fast, slow).distinguishable
    assert ratio(slow, fast).low > 1 > ratio(fast, slow).high


def test_the_same_samples_are_not_told_apart():
    samples = [1.0, 1.1, 0.9, 1.05, 0.97]
    result = ratio(samples, samples)
    assert result.value == 1.0
    assert result.low < 1 < result.high
    assert not result.distinguishable


def test_an_interval_without_1_is_not_enough_when_the_ranges_overlap():
    generator = np.random.default_rng(0)
    a, b = generator.normal(1.0, 0.1, 400), generator.normal(1.04, 0.1, 400)
    result = ratio(a, b)
    assert result.high < 1
    assert not result.distinguishable
    assert "overlap" in result.reason


def test_few_samples_never_decide():
    assert not ratio([1.0] * 4, [2.0] * 4).distinguishable
    assert ratio([1.0] * 5, [2.0] * 5).distinguishable


@pytest.mark.parametrize("size", [5, 10, 20])
def test_equal_quantities_are_rarely_called_different(size):
    generator = np.random.default_rng(size)
    trials = 200
    called = sum(
        ratio(*(1 + 0.02 * generator.lognormal(size=(2, size))), seed=trial).distinguishable for trial in range(trials)
    )
    assert called / trials <= 0.06  # about 3 % is stated; 12 of 200 is beyond chance


def test_the_interval_covers_the_true_ratio():
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        result = ratio(generator.normal(3, 0.1, 25), generator.normal(2, 0.1, 25), seed=trial)
        covered += result.low <= 1.5 <= result.high
    assert covered >= 180  # 190 expected


def test_the_seed_fixes_the_interval():
    a, b = [1.0, 1.2, 1.1, 1.3, 1.0], [1.0, 0.9, 1.1, 1.2, 1.3]
    assert ratio(a, b, seed=3) == ratio(a, b, seed=3)


def test_ratios_need_positive_quantities():
    with pytest.raises(ValueError, match=r"-1\.0 is not positive"):
        ratio([1.0, 2.0], [-1.0, 2.0])
