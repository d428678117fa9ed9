"""Hydra's refusals in this project's words: the name, the value, what there is, and the nearest name.

Covers unknown groups, choices and settings, words that cannot be read, the usual slips; any other refusal keeps Hydra's
first lines.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from bench.runs.choices import choices, groups, nearest
from bench.runs.declared import DEFAULTS, defaults, settings_of


def explain(error: Exception, conf: Path, overrides: Sequence[str]) -> str:
    """One message from what Hydra raised while composing; `overrides` are the words of the command."""
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return str(error)  # our own refusal, or that of a parser of options
    if isinstance(error, OverrideParseException):
        return _unread(error.override, str(error))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, value = error.missing_cfg_file.rpartition("/")
        if group in groups(conf):
            return _no_choice(conf, group, value)
        if not group:
            return f"--config-name={value}: there is no such configuration; leave it out, or see --config-dir."
    if "group override must be" in str(error):  # model=null, model=1
        for word in overrides:
            group, _, value = word.partition("=")
            if group in groups(conf) and value not in choices(conf, group):
                return _no_choice(conf, group, value)
    unknown = re.search(r"Could not override '([^'@]+)'", str(error))
    if unknown:
        name = unknown.group(1)
        setting = next((word.split("=", 1)[1] for word in overrides if word.startswith(f"{name}=")), None)
        if name in groups(conf) and setting is not None:
            return _no_choice(conf, name, setting)
        given = name if setting is None else f"{name}={setting}"
        return f"{given}: {name} is not a setting; {_fix(name, settings(conf, overrides))}"
    several = re.search(r"Ambiguous value for argument '([^']+)'", str(error))
    if several:
        return f"{several.group(1)}: several values; add -m for a run of each, or write [a,b] for a list"
    cause = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    lines = [line.strip() for line in f"{error}{cause}".splitlines() if line.strip() and "hydra.cc" not in line]
    return "; ".join(lines[:3])


def settings(conf: Path, overrides: Sequence[str]) -> list[str]:
    """The dotted names of all settings, for the groups' choices that `overrides` make and that exist."""
    chosen = defaults(conf)
    for word in overrides:
        group, _, value = word.partition("=")
        if group in chosen and value in choices(conf, group):
            chosen[group] = value
    names = [*chosen, *settings_of(conf, DEFAULTS)]
    for group, choice in chosen.items():
        if choice is not None and group != "experiment":
            names += [f"{group}.{name}" for name in settings_of(conf, f"{group}/{choice}")]
    return names


def _no_choice(conf: Path, group: str, value: str) -> str:
    return f"{group}={value}: is not a choice; {_fix(value, choices(conf, group), f'{group}=')}"


def _unread(word: str, said: str) -> str:
    """A word that Hydra's grammar does not take, and how it is written so that it does."""
    name, equals, value = word.partition("=")
    if not equals:
        return f"{word}: is neither an option nor a setting; write it as setting=value (python run.py --help)."
    quoted = f'{name}="{_escaped(value)}"'
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:  # the name is what cannot be read
        said = next((line.strip() for line in said.splitlines() if line.strip()), "")
        return f"{word}: cannot be read ({said}); write it as setting=value (python run.py --help)."
    return f"{word}: its value has characters that mean something else here; quote it: {shlex.quote(quoted)}"


def _escaped(value: str) -> str:
    """Within double quotes: a quotation mark, and the backslashes in front of one or of the end, get another."""
    return re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (found[2] and f"\\{found[2]}"), value)


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
