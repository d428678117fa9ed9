"""Medians and quartiles, on numbers worked by hand."""

from __future__ import annotations

import pytest

from bench.measure.statistics import is_wide, summary


def test_median_and_range_by_hand():
    # sorted 1 2 3 4: quartiles at positions 0.75 and 2.25: 1.75 and 3.25
    assert summary([4.0, 1.0, 3.0, 2.0]) == {"median": 2.5, "iqr": 1.5, "samples": [4.0, 1.0, 3.0, 2.0]}
    assert summary([1, 2, 3, 4, 100]) == {"median": 3.0, "iqr": 2.0, "samples": [1.0, 2.0, 3.0, 4.0, 100.0]}
    assert summary([7.0]) == {"median": 7.0, "iqr": 0.0, "samples": [7.0]}


@pytest.mark.parametrize("samples", [[], [float("nan")], [1.0, float("inf")], [[1.0]]])
def test_no_samples_or_no_numbers_are_refused(samples):
    with pytest.raises(ValueError, match="samples"):
        summary(samples)


def test_a_range_above_a_quarter_of_the_median_is_wide():
    assert is_wide(4.0, 1.01)
    assert not is_wide(4.0, 1.0)
    assert not is_wide(0.0, 0.0)
