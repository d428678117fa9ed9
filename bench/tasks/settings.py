"""What every task is told, and how a task's settings come from its YAML group: by name, each checked, none unknown.

A refusal is a ValueError with the setting's name, the value given, the rule and the fix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Self

from bench.framework import Group, OptimiserSpec
from settings.errors import SettingError
from settings.rules import check_choice, check_number, check_size, check_whole

Rule = Callable[[str, object], None]


@dataclass(frozen=True, kw_only=True)
class Common:
    """Of every task: what is built, and with which batches. length: None is the data's own."""

    name: str
    batch_size: int
    length: int | None
    optimiser: Mapping[str, Any]
    clip_norm: float | None

    def __post_init__(self) -> None:
        check_size("task.batch_size", self.batch_size)
        optional(check_size)("task.length", self.length)
        optional(partial(check_number, low=0.0, open_low=True))("task.clip_norm", self.clip_norm)
        apply("task.optimiser.", self.optimiser, _OPTIMISER)
        if self.batch_size % self.optimiser["accumulate"]:
            rule = f"task.batch_size={self.batch_size} has no such number of equal parts"
            raise SettingError("task.optimiser.accumulate", self.optimiser["accumulate"], rule, "set a divisor of it.")
        assert self.optimiser_spec

    @property
    def optimiser_spec(self) -> OptimiserSpec:
        own = {name: value for name, value in self.optimiser.items() if name != "groups"}
        return OptimiserSpec(**own, clip_norm=self.clip_norm, groups=[Group(**one) for one in self.optimiser["groups"]])

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From a task's group of the configuration."""
        assert settings.keys() == {each.name for each in fields(cls)}, f"conf/task and {cls.__module__} do not agree"
        return cls(**settings)


def apply(prefix: str, settings: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Each setting by its rule. Unknown names, and missing ones, have been refused before (bench/runs/declared.py)."""
    assert set(settings) == set(rules), sorted(set(settings) ^ set(rules))
    for name, rule in rules.items():
        rule(prefix + name, settings[name])


def optional(rule: Rule) -> Rule:
    return lambda name, value: None if value is None else rule(name, value)


def choices(name: str, value: object, choices: Collection[str], example: str) -> None:
    """Refuses what is not a list of some of `choices`, each once."""
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise SettingError(
            name, value, f"must be a list of {example}s, each once", f"set {name}=[{next(iter(choices))}]."
        )
    for one in value:
        check_choice(name, one, choices)


def _groups(name: str, value: object) -> None:
    example = f"write {name}=[{{names:[blocks.*],rate:1e-3,weight_decay:0}}], say."
    if not isinstance(value, list):
        raise SettingError(name, value, "must be a list of groups of parameters", example)
    for place, group in enumerate(value):
        own = f"{name}[{place}]"
        if not isinstance(group, Mapping) or group.keys() != {"names", "rate", "weight_decay"}:
            raise SettingError(own, group, "must give names, rate and weight_decay", example)
        names = group["names"]
        if not isinstance(names, list) or not names or not all(isinstance(one, str) and one for one in names):
            raise SettingError(f"{own}.names", names, "must be a list of names, * for anything", example)
        for rate in ("rate", "weight_decay"):
            _RATE(f"{own}.{rate}", group[rate])


_RATE = partial(check_number, low=0.0)
_MOMENT = partial(check_number, low=0.0, high=1.0, open_high=True)
_OPTIMISER: dict[str, Rule] = {
    **{name: _RATE for name in ("rate", "ssm_rate", "weight_decay")},
    **{name: _MOMENT for name in ("beta1", "beta2")},
    "eps": partial(check_number, low=0.0, open_low=True),
    "groups": _groups,
    "accumulate": check_whole,
}
