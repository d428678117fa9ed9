"""The schema: which settings conf/ declares, for the root and for each choice of a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bench.runs.choices import choices, nearest

DEFAULTS = "config"  # conf/config.yaml, the root
_HYDRA = ("defaults", "hydra")


@cache
def declared(conf: Path, name: str) -> Mapping[str, Any]:
    """What conf/<name>.yaml declares (its settings with their values, nested), the files that it builds on included.

    name: config, or a group's choice such as model/s4. Of conf/config.yaml the settings without those of the groups.
    """
    own = OmegaConf.to_container(OmegaConf.load(conf / f"{name}.yaml"), resolve=False)
    assert isinstance(own, dict)
    settings: dict[str, Any] = {}
    folder = name.rpartition("/")[0]
    for part in own.get("defaults", ["_self_"]):
        if part == "_self_":
            settings |= {str(key): value for key, value in own.items() if key not in _HYDRA}
        elif isinstance(part, str):
            settings |= declared(conf, f"{folder}/{part}")
    return settings


def check_declared(config: Mapping[str, Any], conf: Path) -> None:
    """Refuses a configuration that lacks a setting which its YAMLs declare, or has one that they do not.

    A missing setting would be filled in by a default of the code: another run than the YAML says. Which YAML of a group
    holds, its `name` says. Values are not looked at, but for whether they are groups of settings.
    """
    root, chosen = declared(conf, DEFAULTS), defaults(conf)
    grouped: dict[str, Mapping[str, Any]] = {group: {} for group, choice in chosen.items() if choice is not None}
    for group in grouped.keys() - config.keys():
        listed = ", ".join(choices(conf, group))
        raise ValueError(f"{group}=None: is missing; choose one of {listed}, do not remove it with ~.")
    _compare("", config, {**grouped, **root})
    for group in grouped:
        names = choices(conf, group)
        fix = f"choose one of {', '.join(names)}"
        settings = config[group]
        if "name" not in settings:
            raise ValueError(f"{group}.name: is missing, so that {group} is no choice of conf/{group}; {fix}.")
        name = settings["name"]
        if name not in names:
            close = nearest(str(name), names)
            suggestion = f"did you mean {group}={close}?" if close else f"set {group}=... instead."
            raise ValueError(f"{group}.name={name!r}: is not a choice of conf/{group}; {fix}; {suggestion}")
        _compare(f"{group}.", settings, declared(conf, f"{group}/{name}"))


def settings_of(conf: Path, name: str) -> list[str]:
    """The dotted names of what `declared` gives, groups of settings included."""
    return list(_flat(declared(conf, name), ""))


def defaults(conf: Path) -> dict[str, str | None]:
    """The groups of the root and the choice that stands for each, None where there is none."""
    return dict(_defaults(conf))


@cache
def _defaults(conf: Path) -> Mapping[str, str | None]:
    listed = OmegaConf.to_container(OmegaConf.load(conf / f"{DEFAULTS}.yaml"), resolve=False)
    assert isinstance(listed, dict)
    chosen: dict[str, str | None] = {}
    for part in listed["defaults"]:
        if isinstance(part, dict):
            chosen |= {str(group): choice for group, choice in part.items() if not str(group).startswith("override ")}
    return chosen


def _compare(prefix: str, settings: Mapping[str, Any], declares: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if name not in declares:
            close = nearest(str(name), declares)
            fix = f"did you mean {prefix}{close}?" if close else f"choose from {', '.join(sorted(declares))}."
            raise ValueError(f"{prefix}{name}={value!r}: is not a setting; {fix}")
    for name, default in declares.items():
        if name not in settings:
            raise ValueError(f"{prefix}{name}: is missing; give {prefix}{name}=..., do not remove it with ~.")
        if isinstance(default, Mapping):
            check_group(prefix + name, settings[name])
            if default:
                _compare(f"{prefix}{name}.", settings[name], default)


def check_group(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}={value!r}: is a group of settings; give {name}.<setting>=<value> instead.")


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in settings.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
