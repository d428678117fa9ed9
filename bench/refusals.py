"""Hydra's refusals in this project's words: the name, the value, what there is, and the nearest name.

Covers unknown groups, choices and settings, the usual slips; any other refusal keeps Hydra's first lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from bench.choices import choices, groups, nearest


def explain(error: Exception, conf: Path, overrides: Sequence[str]) -> str:
    """One message from what Hydra raised while composing; `overrides` are the words of the command."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, value = error.missing_cfg_file.rpartition("/")
        if group in groups(conf):
            return f"{group}={value}: is not a choice; {_fix(value, choices(conf, group), f'{group}=')}"
    unknown = re.search(r"Could not override '([^'@]+)'", str(error))
    if unknown:
        name = unknown.group(1)
        setting = next((word.split("=", 1)[1] for word in overrides if word.startswith(f"{name}=")), None)
        given = name if setting is None else f"{name}={setting}"
        return f"{given}: {name} is not a setting; {_fix(name, settings(conf, overrides))}"
    several = re.search(r"Ambiguous value for argument '([^']+)'", str(error))
    if several:
        return f"{several.group(1)}: several values; add -m for a run of each, or write [a,b] for a list"
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "hydra.cc" not in line]
    return "; ".join(lines[:3])


def settings(conf: Path, overrides: Sequence[str]) -> list[str]:
    """The dotted names of all settings, for the groups' choices that `overrides` make and that exist."""
    chosen = []
    for word in overrides:
        group, _, value = word.partition("=")
        if group in groups(conf) and value in choices(conf, group):
            chosen.append(word)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", overrides=chosen), resolve=False)
    assert isinstance(composed, dict)
    return ["experiment", *_flat(composed, "")]


def _flat(config: Mapping[Any, Any], prefix: str) -> list[str]:
    names = []
    for name, value in config.items():
        names.append(f"{prefix}{name}")
        if isinstance(value, Mapping):
            names += _flat(value, f"{prefix}{name}.")
    return names


def _fix(value: str, names: Sequence[str], prefix: str = "") -> str:
    close = nearest(value, names)
    if close is None:  # model.batch_size: right in another group
        last = value.rpartition(".")[2]
        close = next((name for name in names if name.rpartition(".")[2] == last), None)
    if close is not None and not prefix:
        return f"did you mean {close}? (python run.py --cfg job shows every setting)"
    every = "python run.py --cfg job shows every setting."
    listed = f"choose one of {', '.join(names)}." if prefix else every
    return f"did you mean {prefix}{close}? {listed}" if close is not None else listed
