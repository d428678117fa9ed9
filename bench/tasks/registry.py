"""Tasks by name: `task.name` is the module in this folder that holds it as TASK.

A new task is one file with a TASK and one YAML, conf/task/<name>.yaml; nothing here is edited.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

import bench.tasks
from bench.measure.statistics import summary
from bench.tasks.settings import Common
from bench.tasks.task import Measure, Record, Task
from settings.rules import check_choice


def names() -> tuple[str, ...]:
    """Every task in this folder, sorted."""
    return tuple(sorted(_tasks()))


def find(name: str) -> Task:
    """The task of a name. KeyError for one that is not here: names come from checked settings."""
    return _tasks()[name]


def settings(group: Mapping[str, Any]) -> Common:
    """A task's group of the configuration as its own Settings. ValueError for what is wrong with it."""
    name = group.get("name")
    check_choice("task", name, names())
    return find(str(name)).settings.of(group)


def measures(name: str) -> tuple[Measure, ...]:
    """What tables show of a task's records; nothing of one that is not, or no longer, here."""
    return tuple(_tasks()[name].measures) if name in _tasks() else ()


def figures(record: Record) -> list[dict[str, Any]]:
    """The measures of one finished record: {'measure' (its label), 'value', 'iqr'} each; nothing of another record."""
    if record["status"] != "ok":
        return []
    rows = []
    for measure in measures(record["task"]):
        if samples := [measure.scale * sample for sample in measure.samples(record)]:
            spread = summary(samples)
            rows.append({"measure": measure.label, "value": spread["median"], "iqr": spread["iqr"]})
    return rows


def sentence(record: Record) -> str | None:
    """What is printed last of a record; None where its task says nothing."""
    task = _tasks().get(record["task"])
    return None if task is None else task.sentence(record)


def looking(name: str) -> frozenset[str]:
    """Settings of a task that say how long and how often it looks, and not at what."""
    return _tasks()[name].looking if name in _tasks() else frozenset()


@cache
def _tasks() -> dict[str, Task]:
    found = {}
    for info in pkgutil.iter_modules(bench.tasks.__path__):
        module = importlib.import_module(f"bench.tasks.{info.name}")
        task = vars(module).get("TASK")
        if isinstance(task, Task):
            found[info.name] = task
    return found
