"""Every setting that conf/ declares, with values that no one should give: legal, or refused by name; never a traceback.

In one process and without a run: the check of a composed configuration is all that is asked.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from commands import CONF, composed, described

from bench.check import check
from bench.choices import choices, groups
from bench.declared import declared
from datasets import registry

REMOVED = object()
VALUES = {
    "null": None,
    "empty text": "",
    "empty list": [],
    "list": ["a", 1, None],
    "empty mapping": {},
    "mapping": {"a": 1, 2: {"name": "s4"}},
    "10^12": 10**12,
    "2^63": 2**63,
    "10^400": 10**400,
    "-1": -1,
    "0": 0,
    "NaN": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "text": "it's \"so\"\nand 'so'\t= {a: [ü]} ${x}",
    "NUL": "a\0b",
    "number in a text": "1",
    "true": True,
    "removed": REMOVED,
}
GROUPS = [group for group in groups(CONF) if group != "experiment"]
# one configuration for each choice of each group: a setting is tried where it is declared
CASES = [
    (group, choice) for group in GROUPS for choice in choices(CONF, group) if (group, choice) != ("hardware", "gpu")
]


def paths(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in settings.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from paths(value, f"{prefix}{name}.")


def changed(config: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    config = copy.deepcopy(config)
    *above, name = path.split(".")
    place = config
    for part in above:
        place = place[part]
    if value is REMOVED:
        del place[name]
    else:
        place[name] = value
    return config


def complaint(config: dict[str, Any], path: str, kind: str, value: object) -> str | None:
    """What is wrong with the check's answer: None where the value is legal, or refused with name, value and fix."""
    try:
        check(config)
    except ValueError as error:
        said, name = str(error), path.rpartition(".")[2]
        given = [f"{path}: is missing", f"'{name}' is missing"] if value is REMOVED else [f"{name}=", f"{path}."]
        if not any(form in said for form in given):
            return f"{path} ({kind}): the refusal does not name it: {said}"
        if ";" not in said or "\n" in said:
            return f"{path} ({kind}): no line with a rule and a fix: {said}"
        return None
    except Exception as error:  # noqa: BLE001 - what this test looks for
        return f"{path} ({kind}): {type(error).__name__}: {error}"
    return f"{path} ({kind}): taken without it" if value is REMOVED else None


@pytest.fixture
def no_files(monkeypatch, tmp_path):
    """The check without what it would read or fetch, in a folder where whatever is made may be."""
    monkeypatch.setattr(registry, "prepare", described)
    monkeypatch.setattr("bench.check.check_writable", lambda folder: None)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("group, choice", [("", ""), *CASES], ids=lambda part: part or "root")
def test_no_value_of_a_setting_ends_in_a_traceback(group, choice, no_files):
    config = composed(*([f"{group}={choice}"] if group else []))
    tried = (
        paths(config[group], f"{group}.")
        if group
        else [*declared(CONF, "config"), *GROUPS, *paths(config["wandb"], "wandb.")]
    )
    faults = [
        fault
        for path in tried
        for kind, value in VALUES.items()
        if (fault := complaint(changed(config, path, value), path, kind, value))
    ]
    assert not faults, "\n".join(faults)
