"""The settings column of tables: what tells rows apart, and nothing else. The figures: test_table.py."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from commands import CONF
from test_table import record

from bench.store.records import config_hash
from bench.tasks import registry
from bench.views.cells import COLUMNS, cells

TIMED = sorted(registry.find("time").looking)


def made(task: str = "time", n: int = 64, **settings: Any) -> dict[str, Any]:
    """A record whose configuration holds what conf/task has, but for ``settings``."""
    result = record("torch", task=task, n=n)
    own = yaml.safe_load((CONF / "task" / f"{task}.yaml").read_text())
    result["config"]["task"] |= {name: value for name, value in own.items() if name != "defaults"} | settings
    result["config_hash"] = config_hash(result["config"])
    return result


def settings_of(*records: dict[str, Any]) -> list[str]:
    """The settings column, which must have a row for each record."""
    section = records[0]["task"]
    frame = cells(records, section)
    frame = frame[frame["measure"] == {"time": "train_step", "train": "test"}[section]]
    assert len(frame) == len(records)
    return list(frame["settings"])


def test_every_setting_of_how_long_a_timed_run_looks_is_one_of_its_task():
    own = yaml.safe_load((CONF / "task" / "time.yaml").read_text())
    assert set(TIMED) == own.keys() - {"defaults", "name", "batch_size", "length"}


@pytest.mark.parametrize("name", TIMED)
def test_how_long_a_timed_run_looks_stands_only_where_nothing_else_tells_rows_apart(name):
    assert settings_of(made(n=32), made(n=64, **{name: 7})) == ["n=32", "n=64"]
    own = made()["config"]["task"][name]
    assert sorted(settings_of(made(), made(**{name: 7}))) == sorted([f"task.{name}={own}", f"task.{name}=7"])


def test_each_row_is_told_from_each_other_row():
    told = settings_of(made(n=32), made(n=64), made(n=64, rounds=3))
    assert told == ["n=32", "n=64 task.rounds=3", "n=64 task.rounds=5"]


def test_the_steps_of_a_training_are_never_hidden():
    told = settings_of(made("train", n=32, steps=100), made("train", n=64, steps=200))
    assert told == ["n=32 task.steps=100", "n=64 task.steps=200"]


@pytest.mark.parametrize("name", sorted(name.removeprefix("task.") for name in COLUMNS))
def test_what_has_a_column_of_its_own_is_not_among_the_settings(name):
    small, large = {name: 8}, {name: 24}
    for task in ("time", "train"):
        assert settings_of(made(task, **small), made(task, **large)) == ["", ""]
        assert settings_of(made(task, n=32, **small), made(task, n=64, **large)) == ["n=32", "n=64"]
    assert settings_of(made(**small, rounds=3), made(**large, rounds=4)) == ["", ""]


def test_the_share_of_loading_and_waiting_is_of_the_time_with_the_steps():
    loaded = made("train") | {"ledger": {"data_seconds": 1.0, "step_seconds": 3.0, "evaluation_seconds": 9.0}}
    assert list(cells([loaded], "train").query("measure == 'data'")["torch_value"]) == [25.0]
    assert cells([made("train") | {"ledger": None}], "train").query("measure == 'data' and torch_samples > 0").empty


def test_the_encoder_tells_no_two_rows_apart_as_the_data_set_decides_it():
    auto, linear = made("time", n=32), made("time", n=64)
    auto["config"]["model"]["encoder"], linear["config"]["model"]["encoder"] = "auto", "linear"
    assert settings_of(auto, linear) == ["n=32", "n=64"]
