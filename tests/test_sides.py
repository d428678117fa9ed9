"""The words of a side: which configuration they make, and what is refused, by name and before any work."""

from __future__ import annotations

import pytest
from commands import CONF, EAGER, TINY, composed

from bench.runs import sides
from bench.runs.check import check
from bench.tasks.side import Side
from settings.errors import SettingError

BASE = ["task=compare", *TINY, *EAGER]


def config(*words):
    return composed(*BASE, *words)


def made(*words, base=()):
    """The second side of a comparison."""
    return sides.composed(config(*base), [Side((), "task", "given"), Side(words, "task.b")], CONF)[1]


def test_a_setting_is_set():
    assert made("model.n=16").config["model"] == {**config()["model"], "n": 16}
    assert made("threads=1", "task.optimiser.rate=0.5").config["task"]["optimiser"]["rate"] == 0.5


def test_no_words_are_the_same_configuration_again():
    again = made()
    assert (again.config, again.label) == (config(), "again")


def test_a_group_s_choice_keeps_what_was_set_of_the_old_one():
    base = config("model=s4")
    other = made("model=dss").config["model"]
    assert other == {**composed("model=dss")["model"], "d_model": 8, "n": 8, "n_blocks": 1}
    assert base["model"]["name"] == "s4"


def test_a_framework_s_choice_brings_its_own_compile_mode():
    assert made("framework=jax").config["framework"] == {"name": "jax", "compile": "default"}
    again = sides.composed(composed("framework=jax"), [Side(("framework=torch",), "task.b")], CONF)[0]
    assert again.config["framework"] == {"name": "torch", "compile": "none"}


def test_words_of_the_comparison_s_own():
    assert made("planted=2.5%").planted == pytest.approx(0.025)
    assert made(f"worker={__file__}").worker.name == "test_sides.py"
    assert len(made("code=HEAD").commit) == 40


def test_labels_differ():
    found = sides.composed(config(), [Side(("threads=1",), "b"), Side(("threads=1",), "c"), Side((), "d")], CONF)
    assert [one.label for one in found] == ["threads=1", "threads=1 (2)", "again"]


@pytest.mark.parametrize(
    "word",
    [
        "model.nn=3", "nothing", "model=s9", "code=no-such-commit", "code=--all", "planted=yes", "planted=5",
        "planted=101%", "worker=absent.py", "~model.n", "+model.x=1", "model.n=1,2", "results_dir=x", "a b=c",
        "experiment=demo", "task.b=[]", "task=time", "task.turns=3", "task.margin=1", "hydra.verbose=true",
        "model.n.x=1", "=", "x=(",
    ],
)  # fmt: skip
def test_words_that_name_no_side_are_refused_by_name(word):
    with pytest.raises(ValueError, match=r"task\.b"):
        made(word)


def test_a_side_is_checked_as_if_it_were_run_alone():
    with pytest.raises(ValueError, match=r"side 'model.n=0'.*model.n=0"):
        check(config("task.b=['model.n=0']"))


def test_a_comparison_s_sides_come_with_what_was_checked_of_each():
    found = check(config("task.b=['threads=1']", "task.others=[[],['model.n=16']]"))
    assert [one.label for one in found.sides] == ["as given", "threads=1", "again", "model.n=16"]
    assert [one.options.layers[0].n for one in found.of_sides] == [8, 8, 8, 16]
    assert found.of_sides[1].threads == 1


def test_without_words_the_other_framework_is_compared():
    found = check(config())
    assert [one.label for one in found.sides] == ["torch", "jax"]
    assert found.sides[1].config["framework"]["name"] == "jax"


@pytest.mark.parametrize("value", ["1", "x", "[1]", "[[]]", "['']", "{a: 1}"])
def test_what_is_no_list_of_words_is_refused(value):
    with pytest.raises(SettingError, match=r"task\.b"):
        check(config(f"task.b={value}"))


@pytest.mark.parametrize("value", ["1", "['a=b']", "[[1]]"])
def test_further_sides_are_lists_of_lists(value):
    with pytest.raises(SettingError, match=r"task\.others"):
        check(config(f"task.others={value}"))
