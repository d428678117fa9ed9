"""What the data asks of a network, and the one error of a setting that cannot be used."""

from __future__ import annotations

import math
import pickle

import pytest

from settings.errors import SettingError
from settings.problem import ACCURACY, LOSS, Problem


def test_a_refusal_says_name_value_rule_and_fix():
    error = SettingError("rate", "fast", "must be a number", "set rate=0.01.")
    assert str(error) == "rate='fast': must be a number; set rate=0.01."
    assert str(error.within("task.optimiser")) == "task.optimiser.rate='fast': must be a number; set rate=0.01."
    assert isinstance(error, ValueError)


def test_a_refusal_crosses_processes():
    error = pickle.loads(pickle.dumps(SettingError("n", 3, "must be even", "set n=4.")))
    assert (str(error), error.name, error.value) == ("n=3: must be even; set n=4.", "n", 3)


def test_real_numbers_and_tokens():
    waves, texts = Problem(16000, 10, channels=1), Problem(4096, 2, vocabulary=135, padding=0)
    assert (waves.tokens, waves.features) == (False, 1)
    assert (texts.tokens, texts.features) == (True, 135)
    assert waves.at(8000) == Problem(8000, 10, channels=1)


def test_pixels_are_symbols_none_of_which_is_padding():
    assert Problem(784, 256, vocabulary=256, per_step=True, selects=LOSS).padding is None


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"length": 0, "channels": 1}, "length=0: must be a whole number of at least 1"),
        ({"length": 8}, "channels=None: must be given where vocabulary=None is not"),
        ({"length": 8, "channels": 1, "vocabulary": 9}, "channels=1: must be given where vocabulary=9 is not"),
        ({"length": 8, "channels": 1, "padding": 0}, "padding=0: the end of a sequence shows in its tokens"),
        ({"length": 8, "vocabulary": 9, "padding": 9}, "padding=9: must be one of the 9 tokens"),
        ({"length": 8, "vocabulary": 9, "documents": 3}, "documents=3: must be 1, or 2 that are compared"),
        ({"length": 8, "vocabulary": 9, "documents": 2, "per_step": True}, "per_step=True: a target a step"),
        ({"length": 8, "channels": 1, "per_step": 1}, "per_step=1: must be true or false"),
    ],
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(SettingError) as refused:
        Problem(classes=2, **settings)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize("figure, worse, better", [(ACCURACY, 0.5, 0.6), (LOSS, 0.6, 0.5)])
def test_which_figure_is_better(figure, worse, better):
    assert figure.better(better, than=worse)
    assert not figure.better(worse, than=better)
    assert not figure.better(worse, than=worse)
    assert figure.better(worse, than=figure.worst)
    assert not figure.better(math.nan, than=worse)
