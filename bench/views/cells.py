"""Records -> one tidy pandas frame: a row for each measured quantity of each model, data set and machine.

The two frameworks stand side by side in a row; they meet when everything in their configurations agrees but
the framework group, the named hardware and where files lie, and when they ran on the same machine, under the same
variables of the shell and on data of the same origin, published or generated. Numbers only: bench/table.py turns them
into text. Only finished runs (status ok) give numbers; others give their status.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.framework import FRAMEWORKS
from bench.measure.variables import compared
from bench.store.records import NOT_HASHED
from bench.tasks import registry as tasks
from bench.tasks.task import Measure, Record

SIDE = ("value", "iqr", "samples", "status", "records", "certificate", "compile")
IDENTITY = ("model", "dataset", "hardware", "precision", "batch", "length")
PROTOCOL = "dataset.protocol"
ENCODER = "model.encoder"  # the data set decides it
COLUMNS = {"task.batch_size", "task.length"}  # settings that tables show in a column of their own


def cells(records: Iterable[Record], section: str) -> pd.DataFrame:
    """The tidy frame of one section, which is a task's name; no rows when no record has that task.

    Columns: measure, label, IDENTITY, settings (what differs between rows of a model and data set, and a protocol
    other than the default), selects_on_test, generated (what the records say of their data), then for each
    framework value, iqr, samples (their number), status, records (how many finished ones stand for the cell),
    certificate (whether it passed) and compile (the framework's mode), then same_code and section.
    """
    measures = tasks.measures(section)
    groups: dict[str, dict[str, dict[str, list[Record]]]] = {}
    for record in sorted(records, key=lambda record: (record["created"], record["id"])):
        if record["task"] == section and record["framework"] in FRAMEWORKS and record["status"] != "refused":
            variants = groups.setdefault(cell_key(record), {}).setdefault(record["framework"], {})
            variants.setdefault(record["config_hash"], []).append(record)
    pairs: list[tuple[list[Record], ...]] = []
    for frameworks in groups.values():
        sides = [list(frameworks.get(name, {}).values()) or [[]] for name in FRAMEWORKS]
        pairs += itertools.product(*sides)
    settings = differing_settings(pairs)
    rows = [
        {
            "measure": measure.name,
            "label": measure.label,
            **identity(pair),
            "settings": setting,
            **values,
            "section": section,
        }
        for measure in measures
        for pair, setting in zip(pairs, settings, strict=True)
        if (values := _row(pair, measure)) is not None
    ]
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    frame = frame.astype(dict.fromkeys(("batch", "length"), "Int64"))  # whole also where a record lacks one
    order = {measure.name: position for position, measure in enumerate(measures)}
    columns = ["measure", "dataset", "hardware", "precision", "batch", "length", "model", "settings"]
    keys = {"measure": lambda column: column.map(order)}
    return frame.sort_values(
        columns, key=lambda column: keys.get(str(column.name), lambda same: same)(column), kind="stable"
    ).reset_index(drop=True)


def cell_key(record: Record) -> str:
    left_out = NOT_HASHED | {"framework", "hardware", "threads", "experiment"}
    config = {name: value for name, value in _flatten(record["config"], "").items() if name != ENCODER}
    config = {name: value for name, value in config.items() if name.partition(".")[0] not in left_out}
    generated = _says(record, "generated")  # the same settings may find published files one day
    met = [config, _hardware(record), compared(record), generated]
    return hashlib.sha256(json.dumps(met, sort_keys=True).encode()).hexdigest()


def _hardware(record: Record) -> str:
    machine = record["machine"] or {}
    if record["device"] == "gpu":
        return (machine.get("gpu") or {}).get("name") or "gpu"
    return f"{machine.get('cpu') or 'cpu'}, {record['threads'] or '?'} threads"


def identity(pair: Sequence[Sequence[Record]]) -> dict[str, Any]:
    record = next(filter(None, sorted(map(_chosen, pair), key=lambda one: one is None or one["status"] != "ok")))
    task = record["config"].get("task", {})
    return {
        "model": record["model"],
        "dataset": record["dataset"],
        "hardware": _hardware(record),
        "precision": record["precision"],
        "batch": task.get("batch_size"),
        "length": (record["data"] or {}).get("length") or task.get("length"),
        **_origin(pair),
    }


def _origin(pair: Sequence[Sequence[Record]]) -> dict[str, bool]:
    """What the records of a row say of their data."""
    records = list(itertools.chain.from_iterable(pair))
    return {name: any(_says(record, name) for record in records) for name in ("selects_on_test", "generated")}


def _says(record: Record, name: str) -> bool:
    """A flag of the record's data section; one that lacks it was made with the default protocol on published data."""
    return (record["data"] or {}).get(name) is True


def _chosen(side: Sequence[Record]) -> Record | None:
    """The newest finished record; without one the newest of all, for its status."""
    finished = [record for record in side if record["status"] == "ok"]
    return (finished or side or [None])[-1]  # type: ignore[list-item]


def _row(pair: Sequence[Sequence[Record]], measure: Measure) -> dict[str, Any] | None:
    """The measured part of a row; None when neither framework has anything to say about this measure."""
    row: dict[str, Any] = {}
    samples: list[list[float]] = []
    chosen = [_chosen(side) for side in pair]
    for framework, side, record in zip(FRAMEWORKS, pair, chosen, strict=True):
        found = measure.samples(record) if record and record["status"] == "ok" else []
        samples.append(found)
        quartiles = np.percentile(found, [25, 50, 75]) * measure.scale if found else [np.nan] * 3
        certificate = (record or {}).get("certificate") or {}
        values = (
            float(quartiles[1]),
            float(quartiles[2] - quartiles[0]),
            len(found),
            record["status"] if record else None,
            sum(one["status"] == "ok" for one in side),
            certificate.get("passed") is True,
            record["config"].get("framework", {}).get("compile") if record else None,
        )
        row |= {f"{framework}_{name}": value for name, value in zip(SIDE, values, strict=True)}
    if not any(samples) and all(record is None or record["status"] == "ok" for record in chosen):
        return None
    codes = {(record["code"] or {}).get("hash") for record in chosen if record}
    return {**row, "same_code": len(codes) == 1}


def differing_settings(pairs: Sequence[Sequence[Sequence[Record]]]) -> list[str]:
    """For each row the settings, 'name=value', in which rows of the same model and data set differ; a framework's
    compile mode where any rows differ in it; how long a task looks only where nothing else tells two rows apart;
    a protocol other than the default in any case.
    """
    flat = [_flat_settings(pair) for pair in pairs]
    modes = [f"{framework}.compile" for framework in FRAMEWORKS]
    mixed = {name for name in modes if len({one[name] for one in flat if name in one}) > 1}
    owners = [tuple(identity(pair)[name] for name in ("model", "dataset", "hardware")) for pair in pairs]
    texts = []
    for own, owner in zip(flat, owners, strict=True):
        rivals = [other for other, name in zip(flat, owners, strict=True) if name == owner]
        names = sorted(mixed) + sorted(name for rival in rivals for name in _telling(own, rival))
        if own.get(PROTOCOL, "default") != "default":
            names.append(PROTOCOL)
        differing = dict.fromkeys(name for name in names if name in own and name not in COLUMNS)
        texts.append(" ".join(f"{name.removeprefix('model.')}={own[name]}" for name in differing))
    return texts


def _flat_settings(pair: Sequence[Sequence[Record]]) -> dict[str, Any]:
    """Settings by dotted name; the framework group's as framework.name."""
    flat: dict[str, Any] = {}
    shown = NOT_HASHED | {"framework", "hardware", "threads", "experiment", "precision"}
    for framework, side in zip(FRAMEWORKS, pair, strict=True):
        if not side:
            continue
        config = dict(side[-1]["config"])
        own = config.get("framework", {})
        flat |= _flatten({name: value for name, value in own.items() if name != "name"}, framework)
        flat |= _flatten({name: value for name, value in config.items() if name not in shown}, "")
        flat |= compared(side[-1])
    return flat


def _telling(own: Mapping[str, Any], rival: Mapping[str, Any]) -> set[str]:
    """The settings that tell two rows apart. A framework's own are left out: a row may lack one of the two."""
    names = {name for name in own.keys() | rival.keys() if name.partition(".")[0] not in FRAMEWORKS}
    differing = {name for name in names if own.get(name) != rival.get(name)} - {ENCODER}
    lasting = {f"task.{name}" for name in tasks.looking(str(own.get("task.name")))}
    return differing - lasting or differing


def _flatten(config: Mapping[str, Any], path: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        dotted = f"{path}.{name}" if path else name
        flat |= _flatten(value, dotted) if isinstance(value, Mapping) else {dotted: value}
    return flat
