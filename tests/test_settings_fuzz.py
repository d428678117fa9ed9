"""Every setting that conf/ declares, with values that no one should give: legal, or refused by name; never a traceback.

In one process and without a run: the check of a composed configuration is all that is asked.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from commands import CONF, composed, described

from bench.runs.check import check
from bench.runs.choices import choices, groups
from bench.runs.declared import settings_of
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
CASES = [(group, choice) for group in GROUPS for choice in choices(CONF, group) if choice != "gpu"]


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
        given = (
            [f"{path}: is missing", f"{path}=None: is missing", f"'{name}' is missing"]
            if value is REMOVED
            else [f"{name}=", f"{path}."]
        )
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
    """The check without what it would read or fetch, in a folder where results folders of any name may be made."""
    monkeypatch.setattr(registry, "prepare", described)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("group, choice", [("", ""), *CASES], ids=lambda part: part or "root")
def test_no_value_of_a_setting_ends_in_a_traceback(group, choice, no_files):
    config = composed(*([f"{group}={choice}"] if group else []))
    check(config)  # as it is, it can be run
    tried = paths(config[group], f"{group}.") if group else [*GROUPS, *settings_of(CONF, "config")]
    faults = [
        fault
        for path in tried
        for kind, value in VALUES.items()
        if (fault := complaint(changed(config, path, value), path, kind, value))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "words",
    [
        "seed=9223372036854775807",
        "seed=1000000000000",
        "task.steps=1000000000000",
        "task.epochs=1000000000000",
        "task.optimiser.rate=1000000000000",
        "task.optimiser.rate=0",
        "task=time task.rounds=1000000000000",
        "dataset=listops dataset.generated_seed=9223372036854775807",
        "wandb.tags=[]",
        "model.dt_max=1000000000000",
        "model.d_model=1 model.n=2 model.n_blocks=1",
    ],
)
def test_what_is_odd_but_legal_passes(words, no_files):
    check(composed(*words.split()))


@pytest.mark.parametrize(
    "words, message",
    [
        ("model.d_model=1000000000000", "model.d_model=1000000000000: must be a whole number of at most"),
        (
            "model.d_model=2000000000",
            "model.d_model=2000000000: with n=64, n_blocks=2 .* takes more than .* GB.*; lower",
        ),
        ("model=dss model.d_model=2000000 model.mixing=none model.n=60000", "model.d_model=2000000: with n=60000"),
        ("model.n=1000000000000", "model.n=1000000000000: .* at most 65536"),
        ("model.n_blocks=1000000000000", "model.n_blocks=1000000000000: .* at most 10000"),
        ("model.rank=1000000000000", "model.rank=1000000000000: .* at most 64"),
        ("task.length=1000000000000", "task.length=1000000000000: .* at most"),
        ("task.length=2000000000", "with n=64, n_blocks=2 and 64000000000 steps a batch this takes more than .* GB"),
        ("model=s5 model.blocks=1000000000000", "blocks=1000000000000"),
        ("dataset=imdb dataset.length=1000000000000", "length=1000000000000: must be .* at most"),
        ("dataset=pathx dataset.generated_count=1000000000000", "generated_count=1000000000000: must be .* at most"),
        ("seed=9223372036854775808", "seed=9223372036854775808: .* at most 9223372036854775807"),
    ],
)
def test_a_size_beyond_any_memory_is_refused_before_anything_is_built(words, message, no_files):
    with pytest.raises(ValueError, match=message):
        check(composed(*words.split()))


def test_two_odd_values_at_once_end_in_no_traceback_either(no_files):
    rng = np.random.default_rng(0)
    base = {choice: composed(f"model={choice}") for choice in choices(CONF, "model")}
    faults = []
    for _ in range(300):
        config = base[str(rng.choice(sorted(base)))]
        names = [path for path in paths(config) if path not in (*GROUPS, "wandb", "task.optimiser", "task.schedule")]
        first, second = rng.choice(names, 2, replace=False)
        kinds = [kind for kind in VALUES if kind != "removed"]
        one, other = rng.choice(kinds, 2)
        twice = changed(changed(config, first, VALUES[one]), second, VALUES[other])
        try:
            check(twice)
        except ValueError:
            continue
        except Exception as error:  # noqa: BLE001 - what this test looks for
            faults.append(f"{first} ({one}), {second} ({other}): {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)
