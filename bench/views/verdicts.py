"""Comparisons -> a tidy pandas frame and a Markdown table: a row for each side, measure, model and data set.

Of comparisons with the same settings the newest stands. Two frameworks stand in the order of the other tables,
whichever of them the command named: a verdict read the other way round is the inverse ratio and the opposite word.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.framework import FRAMEWORKS
from bench.measure.waves import CONFIDENCE, EQUAL, FASTER, SLOWER, UNKNOWN
from bench.store.files import RecordError
from bench.tasks.compare import LESS
from bench.tasks.task import Record
from bench.views.cells import cell_key, differing_settings, identity
from bench.views.layout import LEFT_OUT, Layout, filled, laid_out
from settings.progress import WIDTH

TASK = "compare"
OPPOSITE = {FASTER: SLOWER, SLOWER: FASTER, EQUAL: EQUAL, UNKNOWN: UNKNOWN}
KINDS = {"compile": ("first call", "s", 1.0), "peak": ("peak memory", "MB", 1e-6)}  # beside the phases, in ms
SAMENESS = "†: the sides compute different things, or it is not known whether they do: see the record."
LAYOUT = Layout(
    rows=("measure", "side", "against", "dataset", "hardware", "precision", "batch", "length", "settings", "model"),
    right=("batch", "length", "ratio", "interval", "waves"),
    spare=("precision", "hardware", "batch", "settings", "length", "waves"),
    spoken={"dataset": "dataset {}", "batch": "batch {}", "length": "length {}", "model": "model {}"},
    whole=LEFT_OUT,
)


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """Columns: measure (train_step, compile, peak ...), label, side, against, the record's identity and settings,
    side_value and against_value (medians, in the unit of the label), ratio, low, high, word, waves, same (None: not
    known), disturbed, phase. No rows where nothing was compared.
    """
    newest: dict[str, Record] = {}
    for record in sorted(records, key=lambda one: (one["created"], one["id"])):
        if (
            record["task"] == TASK
            and record["status"] in ("ok", "interrupted")
            and (record.get("own") or {}).get("verdicts")
        ):
            newest[_key(record)] = record
    chosen = list(newest.values())
    pairs = [[[one] if one["framework"] == name else [] for name in FRAMEWORKS] for one in chosen]
    settings = differing_settings(pairs)
    rows = [
        {**row, **identity(pair), "settings": setting}
        for record, pair, setting in zip(chosen, pairs, settings, strict=True)
        for row in _rows(record)
    ]
    found = pd.DataFrame(rows)
    if found.empty:
        return found
    found = found.astype(dict.fromkeys(("batch", "length"), "Int64"))
    order = ["place", "dataset", "hardware", "batch", "length", "model", "settings"]
    return found.sort_values(order, kind="stable", ignore_index=True).drop(columns="place")


def measures(found: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(found["measure"]))


def markdown(records: Sequence[Record], measure: str | None = None, width: int | None = WIDTH) -> str:
    """A table of each measure, or of one, with its notes. RecordError where nothing was compared in it."""
    found = frame(records)
    wanted = [] if found.empty else [one for one in measures(found) if measure in (None, one)]
    if not wanted:
        raise RecordError(f"table {TASK}{f'.{measure}' if measure else ''}: no record compared this; run task={TASK}")
    shown = found[found["measure"].isin(wanted)]
    tables = [_table(shown[shown["measure"] == one], width) for one in wanted]
    notes = [filled(f"- {note}", width, "  ") for note in _notes(shown)]
    return "\n".join([*(f"{table}\n" for table in tables), *notes]) + "\n"


def _key(record: Record) -> str:
    """What two comparisons of the same thing agree in: sides, settings, machine."""
    sides = record["own"]["sides"]
    told = [{name: side[name] for name in ("words", "code", "planted")} for side in sides[1:]]
    frameworks = sorted(side["framework"] for side in sides)
    return json.dumps([cell_key(record), told if record["config"]["task"]["b"] is not None else frameworks])


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    own = record["own"]
    first = own["sides"][0]["label"]
    same = {entry["side"]: entry["same"] for entry in own["sameness"] or []}
    for place, verdict in enumerate(own["verdicts"]):
        side, against = verdict["side"], first
        row = {name: verdict[name] for name in ("ratio", "low", "high", "word", "waves")}
        names = list(FRAMEWORKS)
        if side in names and against in names and names.index(side) < names.index(against):
            side, against = against, side
            row |= {"ratio": 1 / row["ratio"], "word": OPPOSITE[row["word"]]}
            row |= {"low": _inverse(verdict["high"]), "high": _inverse(verdict["low"])}
        row |= {name: math.nan if row[name] is None else row[name] for name in ("low", "high")}
        title, unit, scale = KINDS.get(verdict["measure"], (verdict["measure"].replace("_", " "), "ms", 1e3))
        yield {
            "place": place % max(1, len({one["measure"] for one in own["verdicts"]})),
            "measure": verdict["measure"],
            "label": f"{title} ({unit})",
            "side": side,
            "against": against,
            **{
                f"{name}_value": _median(own, label, verdict["measure"]) * scale
                for name, label in (("side", side), ("against", against))
            },
            **row,
            "same": same.get(verdict["side"]),
            "disturbed": own["disturbed"],
        }


def _inverse(value: float | None) -> float | None:
    return None if value is None else 1 / value


def _median(own: Mapping[str, Any], label: str, measure: str) -> float:
    """Of all rounds of a side, or of its processes' first calls or peaks."""
    field = {"compile": "first_call_seconds", "peak": "peak_bytes"}.get(measure, "seconds")
    found = [
        process[field]
        for process in itertools.chain.from_iterable(wave["processes"] for wave in own["waves"])
        if process["side"] == label and process[field] is not None
    ]
    flat = list(itertools.chain.from_iterable(found)) if field == "seconds" else found
    return float(np.median(flat)) if flat else math.nan


def _table(found: pd.DataFrame, width: int | None) -> str:
    """One measure; where all rows compare the same two, their names are the heads."""
    dicts = found.to_dict("records")
    unit = found["label"].iloc[0].rpartition(" ")[2]
    alike = found["side"].nunique() == found["against"].nunique() == 1
    heads = [f"{found[name].iloc[0] if alike else name} {unit}" for name in ("against", "side")]
    rows = []
    for row in dicts:
        word = row["word"] if row["measure"] != "peak" else LESS.get(row["word"], row["word"])
        interval = "–" if math.isnan(row["low"]) else f"{row['low']:.3f} to {row['high']:.3f}"
        rows.append(
            {
                "measure": row["label"],
                "side": row["side"],
                "against": f"against {row['against']}",
                **{
                    name: "–" if pd.isna(row[name]) else str(row[name])
                    for name in LAYOUT.rows
                    if name in row and name not in ("measure", "side", "against")
                },
                heads[0]: _figure(row["against_value"]),
                heads[1]: _figure(row["side_value"]),
                "ratio": f"{row['ratio']:.3f}",
                "interval": interval,
                "verdict": word + (" †" if row["same"] is not True else ""),
                "waves": str(row["waves"]),
            }
        )
    layout = replace(LAYOUT, right=(*LAYOUT.right, *heads))
    return laid_out(pd.DataFrame(rows), layout, width)


def _notes(found: pd.DataFrame) -> list[str]:
    pairs = sorted({(row["side"], row["against"]) for row in found.to_dict("records")})
    what = f"{pairs[0][0]}'s to {pairs[0][1]}'s" if len(pairs) == 1 else "the side's to the other's"
    notes = [
        f"Medians of all rounds; ratio: {what}, with its {CONFIDENCE:.0%} interval over waves of processes that took "
        "turns: below 1 is faster, or less. equal: the interval lies within the margin of equivalence."
    ]
    if len(found) > 1:
        notes.append(
            f"Of {len(found)} verdicts about {(1 - CONFIDENCE) * len(found):.1f} may be false by chance "
            f"({1 - CONFIDENCE:.0%} each)."
        )
    if (found["same"] != True).any():  # noqa: E712 - None: not known
        notes.append(SAMENESS)
    if (found["disturbed"].fillna(0) > 0.1).any():
        notes.append("In some rows the machine was not quiet: another program took turns beside the sides.")
    return notes


def _figure(value: float) -> str:
    if not math.isfinite(value) or value == 0:
        return "–"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
