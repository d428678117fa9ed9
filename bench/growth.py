"""How the time of a train step grows with the length: exponents between records that differ in their length alone.

seconds ~ length^e between two lengths a < b has e = log(seconds_b / seconds_a) / log(b / a), of the records' medians.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.cells import FRAMEWORKS, MEASURING, Record
from bench.files import RecordError
from bench.records import NOT_HASHED

OWN = ("model", "dataset", "precision", "batch", "from", "to")


def exponents(records: Sequence[Record]) -> pd.DataFrame:
    """From the shortest length of each series to every longer one; columns OWN and one for each framework (or NaN)."""
    series: dict[str, dict[int, float]] = {}
    owners: dict[str, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: record["created"]):  # of one cell, the newest
        step = (record["timing"] or {}).get("train_step_seconds")
        if step is None or not _has_its_place(record):
            continue
        key = _key(record)
        owners[key] = {name: record[name] for name in ("model", "dataset", "precision", "framework")}
        owners[key]["batch"] = record["config"]["task"]["batch_size"]
        series.setdefault(key, {})[record["data"]["length"]] = step["median"]
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, seconds in series.items():
        shortest = min(seconds)
        for length in sorted(seconds)[1:]:
            owner = owners[key] | {"from": shortest, "to": length}
            row = rows.setdefault(tuple(owner[name] for name in OWN), {name: owner[name] for name in OWN})
            row[owner["framework"]] = math.log(seconds[length] / seconds[shortest]) / math.log(length / shortest)
    frame = pd.DataFrame(list(rows.values()), columns=[*OWN, *FRAMEWORKS])
    return frame.sort_values(list(OWN), kind="stable", ignore_index=True)


def markdown(records: Sequence[Record]) -> str:
    """The exponents as a Markdown table. Raises RecordError where no two records differ in their length alone."""
    frame = exponents(records)
    if frame.empty:
        raise RecordError("table growth: no two records of task=time differ in task.length alone; run such a pair")
    for framework in FRAMEWORKS:
        frame[framework] = frame[framework].map(lambda value: "–" if math.isnan(value) else f"{value:.2f}")
    shown = frame.rename(columns={name: f"{name}, exponent" for name in FRAMEWORKS})
    align = ["left"] * 3 + ["right"] * (len(shown.columns) - 3)
    return shown.to_markdown(index=False, disable_numparse=True, colalign=align) + "\n"


def _has_its_place(record: Record) -> bool:
    """Whether a train step was timed, at a length and a batch that the record states."""
    step, length = (record["timing"] or {}).get("train_step_seconds") or {}, (record["data"] or {}).get("length")
    timed = record["task"] == "time" and record["status"] == "ok" and bool(step.get("median"))  # 0 has no logarithm
    return timed and length is not None and record["config"]["task"].get("batch_size") is not None


def _key(record: Record) -> str:
    """What two records of one series share: everything but the length, and how long task=time looks."""
    config = {name: value for name, value in record["config"].items() if name not in NOT_HASHED}
    left_out = {"length"} | {name.removeprefix("task.") for name in MEASURING}
    config["model"] = {name: value for name, value in config["model"].items() if name != "encoder"}
    config["task"] = {name: value for name, value in config["task"].items() if name not in left_out}
    where = [record["device"], record["threads"], (record["machine"] or {}).get("cpu")]
    return json.dumps([config, where], sort_keys=True)
