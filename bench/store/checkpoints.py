"""Checkpoints of trainings: one safetensors file each, written whole or not at all, the last few kept.

A file holds arrays by name and, as JSON in its header, everything else (results/README.md). Reading one executes
nothing that it holds. A damaged file is passed over for the one before it. results_dir/checkpoints/<key>/<id> is the
folder of a run, whose key others have that may go on from it. Not here: what the arrays mean (bench/workers/keeper.py,
bench/workers/training.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bench.measure.variables import compared
from bench.store.files import RecordError, write_bytes
from bench.store.records import circumstances, config_hash
from settings.checkpoint import HEADER, VERSION
from settings.reasons import said

CHECKPOINTS = "checkpoints"
NAME = re.compile(r"step-(\d{9})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """arrays: by name. state: everything else, as JSON holds it."""

    path: Path
    arrays: Mapping[str, np.ndarray]
    state: Mapping[str, Any]


def key(record: Mapping[str, Any], left_out: Collection[str]) -> str:
    """Of the run that a fresh record is about: what has to agree for one training to go on with another's state, which
    is all that makes it the same run but the task's settings in `left_out`.
    """
    task = {name: value for name, value in record["config"]["task"].items() if name not in left_out}
    same = {**record, "config_hash": config_hash({**record["config"], "task": task}, compared(record))}
    text = json.dumps(circumstances(same, sorted(record["versions"] or {})))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder(results_dir: str | Path, key: str, run: str) -> Path:
    """Of a run's checkpoints. run: its record's id, which begins with the time."""
    return Path(results_dir) / CHECKPOINTS / key / run


def unfinished(results_dir: str | Path, key: str) -> Path | None:
    """The folder of the newest run of this key whose newest whole checkpoint is not of its end; None without one."""
    above = Path(results_dir) / CHECKPOINTS / key
    for place in sorted(above.iterdir(), reverse=True) if above.is_dir() else ():
        found, _ = newest(place)
        if found is not None and not found.state["finished"]:
            return place
    return None


def write(place: Path, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], keep: int) -> Path:
    """A new checkpoint; of the older ones the last `keep` - 1 stay. RecordError where it cannot be written."""
    header = {HEADER: json.dumps({"version": VERSION, "step": step, **state})}
    path = place / f"step-{step:09}.safetensors"
    write_bytes(path, save({name: np.asarray(value, order="C") for name, value in arrays.items()}, header))
    for old in _paths(place)[:-keep]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def read(path: Path) -> Checkpoint:
    """RecordError where the file is damaged or none of ours."""
    try:
        with safe_open(path, framework="np") as file:
            state = json.loads((file.metadata() or {})[HEADER])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RecordError(f"{path}: not a whole checkpoint of ssm-bench ({said(error)}); delete it") from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise RecordError(f"{path}: a checkpoint of another version; this one reads {VERSION}")
    return Checkpoint(path, arrays, state)


def newest(place: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole one, and a warning for each that is damaged."""
    warnings: list[str] = []
    for path in reversed(_paths(place)):
        try:
            return read(path), warnings
        except RecordError as error:
            warnings.append(str(error))
    return None, warnings


def _paths(place: Path) -> list[Path]:
    """In the order of their steps."""
    return sorted(path for path in place.glob("*.safetensors") if NAME.fullmatch(path.name)) if place.is_dir() else []
