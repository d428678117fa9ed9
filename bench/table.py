"""Turns records into tables, Markdown or CSV: rows measure x model x data set x hardware, torch / jax last.

    python -m bench.table [results_dir ...] [--section time|train|all] [--format markdown|csv] [--output FILE]
    python -m bench.table --readme README.md results/reference [--check]

Markdown is for reading (median and interquartile range, marks explained below the table); CSV holds the same
cells as plain numbers. The second form rewrites the tables of a document between `<!-- table:NAME -->` and
`<!-- /table:NAME -->`; NAME is time, train, one measure of them such as time.train_step, or growth (of the train step's
time with the length).
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from bench import growth
from bench.cells import FRAMEWORKS, IDENTITY, MEASURES, Record, cells
from bench.files import RecordError, update_document, write_text
from bench.records import read_records

SECTIONS = tuple(MEASURES)
MARKED = re.compile(r"(<!-- table:(?P<name>[\w.]+) -->\n)(?P<body>.*?)(<!-- /table:(?P=name) -->)", re.DOTALL)
OPENED = re.compile(r"<!-- table:([\w.]+) -->")
MODES = {("torch", "none"): "eager", ("torch", "default"): "torch.compile", ("jax", "default"): "jax.jit"}
WHOLE_PROCESS = "Whole process: a CPU's resident peak over imports and data, with all that compilation took."
NO_CERTIFICATE = "†: no passed parity certificate stands behind this figure."
ORIGINS = {
    "selects_on_test": (
        "‡",
        "this protocol chooses the best epoch on the test part, as its source does: not an accuracy on unseen data.",
    ),
    "generated": ("§", "generated here in the style of the published data, and not comparable with results on that."),
}

ACCURACIES = {"test", "validation"}  # the measures of which who chose the epoch says something


def markdown(frame: pd.DataFrame, measure: str | None = None) -> str:
    """The Markdown table of a tidy frame (bench.cells) with its notes. `measure` keeps one measure only."""
    if measure is not None:
        frame = frame[frame["measure"] == measure]
    if frame.empty:
        raise RecordError(f"table {measure or ''}: no record measured this; run the task or choose another table")
    rows = [_text_row(row) for row in _dicts(frame)]
    shown = pd.DataFrame(rows)
    last = f"{FRAMEWORKS[0]}/{FRAMEWORKS[1]}"
    if not shown["settings"].any():
        shown = shown.drop(columns="settings")
    if measure is not None:
        shown = shown.drop(columns="measure")
        shown = shown.rename(columns={name: f"{name}, {frame['label'].iloc[0]}" for name in FRAMEWORKS})
    numeric = ("batch", "length", *FRAMEWORKS, last)
    align = ["right" if str(name).split(",")[0] in numeric else "left" for name in shown.columns]
    table = shown.to_markdown(index=False, disable_numparse=True, colalign=align)
    return "\n".join([table, "", *(f"- {note}" for note in _notes(frame))]) + "\n"


def render(records: Sequence[Record], name: str) -> str:
    """The table NAME of some records: 'time', 'train', one measure of them, such as 'time.train_step', or 'growth'."""
    if name == "growth":
        return growth.markdown(records)
    section, _, measure = name.partition(".")
    if section not in MEASURES or (measure and measure not in [one.name for one in MEASURES[section]]):
        known = [f"{section}.{one.name}" for section, measures in MEASURES.items() for one in measures]
        raise RecordError(f"table {name!r}: unknown; choose from {', '.join([*SECTIONS, 'growth', *known])}")
    return markdown(cells(records, section), measure or None)


def updated_document(text: str, records: Sequence[Record]) -> str:
    """`text` with every marked table made anew. Raises RecordError for an unknown or unclosed marker."""
    names = [match["name"] for match in MARKED.finditer(text)]
    if unclosed := [name for name in OPENED.findall(text) if name not in names]:
        raise RecordError(f"marker <!-- table:{unclosed[0]} -->: not closed; add <!-- /table:{unclosed[0]} -->")
    if not names:
        raise RecordError("no <!-- table:NAME --> marker found; add one where the table belongs")
    return MARKED.sub(lambda match: f"{match[1]}\n{render(records, match['name'])}\n{match[4]}", text)


def result_rows(record: Record) -> list[dict[str, Any]]:
    """One record's measures as (measure, value, iqr) rows, for showing it on its own (W&B)."""
    frame = cells([record], record["task"]) if record["task"] in MEASURES else pd.DataFrame()
    side = record["framework"]
    return [
        {"measure": row["label"], "value": _number_or_none(row[f"{side}_value"]), "iqr": row[f"{side}_iqr"]}
        for row in _dicts(frame)
        if row[f"{side}_samples"]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when the table was made (or is up to date), 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description="Tables from the records of runs.")
    parser.add_argument("results_dir", nargs="*", default=["results"], help="folders of records (default: results)")
    parser.add_argument("--section", choices=[*SECTIONS, "all"], default="all")
    parser.add_argument("--format", choices=["markdown", "csv"], default="markdown")
    parser.add_argument("--output", type=Path, help="write to this file instead of the screen")
    parser.add_argument("--readme", type=Path, help="rewrite the marked tables of this document")
    parser.add_argument("--check", action="store_true", help="with --readme: only say whether it is up to date")
    options = parser.parse_args(arguments)
    if options.check and not options.readme:
        parser.error("--check needs --readme FILE")
    try:
        records = _all_records(options.results_dir)
        if options.readme:
            update_document(options.readme, partial(updated_document, records=records), options.check)
        else:
            _put(_table(records, options.section, options.format), options.output)
    except RecordError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _all_records(folders: Iterable[str]) -> list[Record]:
    """The records of all folders, each id once; warnings go to stderr."""
    records: dict[str, Record] = {}
    for folder in folders:
        found, warnings = read_records(folder)
        records |= {record["id"]: record for record in found}
        for warning in warnings:
            print(f"left out: {warning}", file=sys.stderr)
    if not records:
        raise RecordError(f"no record in {', '.join(map(str, folders))}; run something first (python run.py ...)")
    return list(records.values())


def _table(records: Sequence[Record], section: str, form: str) -> str:
    wanted = SECTIONS if section == "all" else (section,)
    frames = {name: frame for name in wanted if not (frame := cells(records, name)).empty}
    if not frames:
        raise RecordError(f"no record with task={' or task='.join(wanted)}; run one, or choose another --section")
    if form == "csv":
        return pd.concat([frame.assign(section=name) for name, frame in frames.items()]).to_csv(index=False)
    return "\n".join(f"### {name}\n\n{markdown(frame)}" for name, frame in frames.items())


def _put(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)


def _text_row(row: Mapping[str, Any]) -> dict[str, str]:
    shown = {"measure": str(row["label"]), **{name: _text_of(row[name]) for name in IDENTITY}}
    marks = (mark for name, (mark, _) in ORIGINS.items() if row[name] and _concerns(name, row["measure"]))
    shown["dataset"] = " ".join([shown["dataset"], *marks])
    shown["settings"] = row["settings"]
    for framework in FRAMEWORKS:
        shown[framework] = _text_cell(*(row[f"{framework}_{name}"] for name in ("status", "samples", "value", "iqr")))
        if row[f"{framework}_samples"] and not row[f"{framework}_certificate"]:
            shown[framework] += " †"
    shown["/".join(FRAMEWORKS)] = _text_ratio(row)
    return shown


def _text_of(value: Any) -> str:
    return "–" if pd.isna(value) else str(value)


def _concerns(origin: str, measure: str) -> bool:
    return origin != "selects_on_test" or measure in ACCURACIES


def _text_cell(status: str | None, samples: int, value: float, iqr: float) -> str:
    if not samples:
        return "–" if pd.isna(status) or status == "ok" else status.replace("_", " ")
    return f"{_figure(value)} [{_figure(iqr)}]" if samples > 1 else _figure(value)


def _text_ratio(row: Mapping[str, Any]) -> str:
    if math.isnan(row["ratio"]):
        return "–"
    return f"{row['ratio']:.2f}" if row["distinguishable"] is not False else f"≈ ({row['ratio']:.2f})"


def _figure(value: float) -> str:
    """Three significant digits without an exponent; whole numbers from 100 on."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def _notes(frame: pd.DataFrame) -> list[str]:
    notes = [
        "Median, [interquartile range] where there are several samples. "
        "torch/jax above 1: jax is faster, or takes less."
    ]
    if (frame["measure"] == "peak").any():
        notes.append(WHOLE_PROCESS)
    found = {side: frame[f"{side}_compile"].dropna().unique() for side in FRAMEWORKS}
    modes = [f"{side}: {MODES.get((side, one[0]), one[0])}" for side, one in found.items() if len(one) == 1]
    if modes:
        notes.append("; ".join(modes) + ".")
    if (frame["distinguishable"] == False).any():  # noqa: E712 - None (no verdict) is a third value
        notes.append("≈: the samples of the two cannot be told apart.")
    if any(((frame[f"{side}_samples"] > 0) & ~frame[f"{side}_certificate"]).any() for side in FRAMEWORKS):
        notes.append(NO_CERTIFICATE)
    for name, (mark, meaning) in ORIGINS.items():
        if any(own and _concerns(name, measure) for own, measure in zip(frame[name], frame["measure"], strict=True)):
            notes.append(f"{mark}: {meaning}")
    counts = [int(frame[f"{side}_records"].max()) for side in FRAMEWORKS]
    if max(counts) > 1:
        notes.append(f"Up to {max(counts)} finished records stand for a cell; the newest is shown.")
    if not frame["same_code"].all():
        notes.append("In some rows the two frameworks were measured with different versions of the code.")
    return notes


def _dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


if __name__ == "__main__":
    sys.exit(main())
