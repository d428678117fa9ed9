"""How the time of a train step grows with the length: exponents between records that differ in their length alone.

seconds ~ length^e between two lengths a < b has e = log(seconds_b / seconds_a) / log(b / a), of the records' medians.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.framework import FRAMEWORKS
from bench.measure.statistics import is_wide
from bench.store.files import RecordError
from bench.store.records import NOT_HASHED
from bench.tasks import registry as tasks
from bench.tasks.task import Record
from bench.views.layout import Layout, laid_out

ROUGH = [f"{name}_rough" for name in FRAMEWORKS]
OWN = ("model", "dataset", "precision", "batch", "from", "to")

LAYOUT = Layout(
    rows=("dataset", "precision", "batch", "from", "to", "model"),
    right=("batch", "from", "to", *FRAMEWORKS),
    spoken={"dataset": "dataset {}", "batch": "batch {}", "from": "from length {}", "to": "to {}", "model": "model {}"},
)


def exponents(records: Sequence[Record]) -> pd.DataFrame:
    """From the shortest length of each series to every longer one. Columns: OWN, for each framework the exponent (or
    NaN), and ROUGH: whether one of its two figures has a wide range.
    """
    series: dict[str, dict[int, float]] = {}
    wide: dict[tuple[str, int], bool] = {}
    owners: dict[str, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: record["created"]):  # of one cell, the newest
        step = (record["timing"] or {}).get("train_step_seconds")
        if step is None or not _has_its_place(record):
            continue
        key = _key(record)
        owners[key] = {name: record[name] for name in ("model", "dataset", "precision", "framework")}
        owners[key]["batch"] = record["config"]["task"]["batch_size"]
        series.setdefault(key, {})[record["data"]["length"]] = step["median"]
        wide[key, record["data"]["length"]] = is_wide(step["median"], step["iqr"])
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, seconds in series.items():
        shortest = min(seconds)
        for length in sorted(seconds)[1:]:
            owner = owners[key] | {"from": shortest, "to": length}
            row = rows.setdefault(tuple(owner[name] for name in OWN), {name: owner[name] for name in OWN})
            row[owner["framework"]] = math.log(seconds[length] / seconds[shortest]) / math.log(length / shortest)
            row[f"{owner['framework']}_rough"] = wide[key, length] or wide[key, shortest]
    frame = pd.DataFrame(list(rows.values()), columns=[*OWN, *FRAMEWORKS, *ROUGH])
    frame[ROUGH] = frame[ROUGH] == True  # noqa: E712 - where there is no exponent there is no mark
    return frame.sort_values(list(OWN), kind="stable", ignore_index=True)


def markdown(records: Sequence[Record]) -> str:
    """The exponents as a Markdown table. Raises RecordError where no two records differ in their length alone."""
    frame = exponents(records)
    if frame.empty:
        raise RecordError("table growth: no two records of task=time differ in task.length alone; run such a pair")
    shown = frame[list(OWN)].astype(str)
    for framework in FRAMEWORKS:
        pairs = zip(frame[framework], frame[f"{framework}_rough"], strict=True)
        shown[framework] = ["–" if math.isnan(value) else f"{value:.2f}{' ◊' * rough}" for value, rough in pairs]
    note = "\n- ◊: from a figure whose interquartile range is above a quarter of its median.\n"
    return laid_out(shown, LAYOUT) + "\n" + note * bool(frame[ROUGH].to_numpy().any())


def _has_its_place(record: Record) -> bool:
    """Whether a train step was timed, at a length and a batch that the record states."""
    step, length = (record["timing"] or {}).get("train_step_seconds") or {}, (record["data"] or {}).get("length")
    measured = any(measure.name == "train_step" for measure in tasks.measures(record["task"]))
    timed = measured and record["status"] == "ok" and bool(step.get("median"))  # 0 has no logarithm
    return timed and length is not None and record["config"]["task"].get("batch_size") is not None


def _key(record: Record) -> str:
    """What two records of one series share: everything but the length, and how long the task looks."""
    config = {name: value for name, value in record["config"].items() if name not in NOT_HASHED}
    left_out = {"length"} | tasks.looking(record["task"])
    config["model"] = {name: value for name, value in config["model"].items() if name != "encoder"}
    config["task"] = {name: value for name, value in config["task"].items() if name not in left_out}
    where = [record["device"], record["threads"], (record["machine"] or {}).get("cpu")]
    return json.dumps([config, where], sort_keys=True)
