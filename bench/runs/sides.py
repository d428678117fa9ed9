"""The sides of a comparison: their words become whole configurations, each checked as if it were run alone.

A word is an override as run.py takes them, applied to the run's own configuration: setting=value, or group=choice,
which keeps what was set of the old choice where the new one has such a setting. Three words are the comparison's own:
code=COMMIT runs that commit's source, worker=FILE another program that speaks a worker's protocol, and planted=5% does
so much more work in each round, which says what a comparison can find.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from bench.runs.choices import choices, groups
from bench.runs.declared import declared
from bench.runs.refusals import explain
from bench.runs.trees import commit_of, lay_out
from bench.tasks.settings import Common
from bench.tasks.side import Ready, Side
from bench.workers.protocol import Build
from settings.errors import SettingError

OWN = ("code", "worker", "planted")  # words of a comparison, not settings
UNTOLD = ("results_dir", "data_dir", "wandb", "sweep", "resume", "debug", "lease", "certificate", "compile_cache")
PLANTED = re.compile(r"(\d+(?:\.\d+)?)%")

Config = dict[str, Any]


@dataclass(frozen=True)
class Composed:
    """A side with its configuration. commit, worker, planted: what its own words say."""

    label: str
    words: tuple[str, ...]
    config: Config
    commit: str | None = None
    worker: Path | None = None
    planted: float = 0.0


def composed(config: Mapping[str, Any], sides: Sequence[Side], conf: Path) -> list[Composed]:
    """The sides' configurations, unchecked. SettingError for words that cannot be read or that name nothing."""
    made: list[Composed] = []
    for side in sides:
        one = _composed(config, side, conf)
        label, number = one.label, 2
        while any(label == other.label for other in made):
            label, number = f"{one.label} ({number})", number + 1
        made.append(Composed(label, one.words, one.config, one.commit, one.worker, one.planted))
    return made


def ready(sides: Sequence[Composed], builds: Sequence[Build], root: Path, held: ExitStack) -> list[Ready]:
    """The sides as they can be started; other commits' files lie there until `held` is left."""
    trees: dict[str, Path] = {}
    made = []
    for side, build in zip(sides, builds, strict=True):
        tree, command = None, None
        if side.commit is not None:
            if side.commit not in trees:
                folder = Path(held.enter_context(TemporaryDirectory(prefix="ssm-bench-code-"))) / side.commit[:12]
                lay_out(root, side.commit, folder)
                trees[side.commit] = folder
            tree = trees[side.commit]
            command = [sys.executable, str(tree / "run.py"), "--worker"]
        if side.worker is not None:
            command = [sys.executable, str(side.worker)]
        made.append(Ready(side.label, side.words, side.config, build, command, side.commit, tree, side.planted))
    return made


def _composed(config: Mapping[str, Any], side: Side, conf: Path) -> Composed:
    result = copy.deepcopy(dict(config))
    own: dict[str, Any] = {}
    for word in side.words:
        name, equals, value = word.partition("=")
        if not equals:
            raise SettingError(side.setting, word, "is no override", "write it as setting=value, quoted.")
        if name in OWN:
            own |= _OWN[name](side.setting, value, conf.parent)
        else:
            _apply(result, word, side.setting, conf)
    label = side.label or " ".join(side.words) or "again"
    return Composed(label, side.words, result, **own)


def _code(setting: str, value: str, root: Path) -> dict[str, Any]:
    return {"commit": commit_of(root, value, setting)}


def _worker(setting: str, value: str, root: Path) -> dict[str, Any]:
    path = Path(value).resolve()
    if not path.is_file():
        raise SettingError(setting, f"worker={value}", "there is no such file", "name a program in Python.")
    return {"worker": path}


def _planted(setting: str, value: str, root: Path) -> dict[str, Any]:
    found = PLANTED.fullmatch(value)
    if not found or not 0 <= float(found[1]) <= 100:
        raise SettingError(setting, f"planted={value}", "is no share of 0 to 100 %", "write planted=5%, say.")
    return {"planted": float(found[1]) / 100}


_OWN: dict[str, Callable[[str, str, Path], dict[str, Any]]] = {"code": _code, "worker": _worker, "planted": _planted}


def _apply(config: Config, word: str, setting: str, conf: Path) -> None:
    """One override, in place."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([word])
    except (HydraException, ValueError) as error:
        raise ValueError(f"{setting}: {explain(error, conf, [word])}") from error
    name = parsed.key_or_group
    if parsed.is_delete() or parsed.is_add() or parsed.is_force_add() or parsed.is_sweep_override():
        raise SettingError(setting, word, "a side gives one value to a setting that is there", "write setting=value.")
    value: Any = parsed.value()
    first, _, second = name.partition(".")
    if name in ("experiment", "task") or first in ("hydra", *UNTOLD) or (first == "task" and not _is_shared(second)):
        raise SettingError(setting, word, "is not a side's to say", "give it to the comparison itself.")
    if name in groups(conf):
        _choose(config, name, str(value), setting, conf)
        return
    place, *rest = name.split(".")
    node: Any = config
    for part in (place, *rest[:-1]) if rest else ():
        node = node.get(part) if isinstance(node, Mapping) else None
    last = rest[-1] if rest else place
    if not isinstance(node, dict) or last not in node:
        raise SettingError(setting, word, f"{name} is not a setting", "python run.py --cfg job shows every setting.")
    node[last] = value


def _is_shared(name: str) -> bool:
    """Whether a task's setting says what is built, and with which batches, and not how it is compared."""
    return name.partition(".")[0] in {each.name for each in fields(Common)} - {"name"}


def _choose(config: Config, group: str, choice: str, setting: str, conf: Path) -> None:
    known = choices(conf, group)
    if choice not in known:
        raise SettingError(setting, f"{group}={choice}", "is not a choice", f"choose one of {', '.join(known)}.")
    old, new = config[group], copy.deepcopy(dict(declared(conf, f"{group}/{choice}")))
    before = declared(conf, f"{group}/{old['name']}")
    config[group] = _with_changes(new, old, before)


def _with_changes(new: Config, old: Mapping[str, Any], before: Mapping[str, Any]) -> Config:
    """The new choice, with what the old one was set to apart from its own YAML, where both have such a setting."""
    for name, value in old.items():
        if name == "name" or name not in new or name not in before:
            continue
        if isinstance(new[name], dict) and isinstance(value, Mapping) and isinstance(before[name], Mapping):
            new[name] = _with_changes(new[name], value, before[name])
        elif value != before[name]:
            new[name] = value
    return new
