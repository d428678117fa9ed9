"""Tables of records, Markdown or CSV: rows measure x model x data set x hardware.

Markdown is for reading (median and interquartile range, marks explained below the table); CSV holds the same cells as
plain numbers. In a document a table stands between `<!-- table:NAME -->` and `<!-- /table:NAME -->`; NAME is a task
(time, train, compare), one measure of it such as time.train_step, or growth (of the train step's time with the
length).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.framework import FRAMEWORKS
from bench.measure.statistics import is_wide
from bench.store.files import RecordError
from bench.tasks import registry as tasks
from bench.tasks.task import Measure, Record
from bench.views import growth, verdicts
from bench.views.cells import IDENTITY, cells
from bench.views.layout import LEFT_OUT, Layout, filled, fits, laid_out
from settings.progress import WIDTH

SECTIONS = tuple(name for name in tasks.names() if tasks.measures(name))
MARKED = re.compile(r"(<!-- table:(?P<name>[\w.]+) -->\n)(?P<body>.*?)(<!-- /table:(?P=name) -->)", re.DOTALL)
OPENED = re.compile(r"<!-- table:([\w.]+) -->")
# What a row is of: shared values stand above the table. The model is the last to go there.
LAYOUT = Layout(
    rows=("measure", "dataset", "hardware", "precision", "batch", "length", "settings", "model"),
    right=("batch", "length", *FRAMEWORKS),
    spare=("precision", "hardware", "batch", "settings", "length", "dataset"),  # the least used first
    spoken={"dataset": "dataset {}", "batch": "batch {}", "length": "length {}", "model": "model {}"},
    whole=LEFT_OUT,
)
UNIT = re.compile(r"\(.*\)$")
WIDE_RANGE = "◊: the interquartile range is above a quarter of the median."
NO_CERTIFICATE = "†: no passed parity certificate stands behind this figure."
ORIGINS = {
    "selects_on_test": (
        "‡",
        "this protocol chooses the best epoch on the test part, as its source does: not an accuracy on unseen data.",
    ),
    "generated": ("§", "generated here in the style of the published data, and not comparable with results on that."),
}


def markdown(frame: pd.DataFrame, measure: str | None = None, width: int | None = WIDTH) -> str:
    """The Markdown table of a tidy frame (bench.views.cells) with its notes, `width` columns wide at most (None: any).
    `measure` keeps one measure only.
    """
    if measure is not None:
        frame = frame[frame["measure"] == measure]
    if frame.empty:
        raise RecordError(f"table {measure or ''}: no record measured this; run the task or choose another table")
    rows = [_text_row(row) for row in _dicts(frame)]
    shown = pd.DataFrame(rows)
    if shown["measure"].nunique() == 1 or fits(shown, LAYOUT, width):
        tables = [_one(shown, width)]
    else:  # a table of each measure spares its column
        tables = [_one(own, width) for _, own in shown.groupby("measure", sort=False)]
    return (
        "\n".join([*(f"{table}\n" for table in tables), *(filled(f"- {note}", width, "  ") for note in _notes(frame))])
        + "\n"
    )


def _one(shown: pd.DataFrame, width: int | None) -> str:
    """One table; the unit of a single measure stands in the heads of its figures."""
    if shown["measure"].nunique() > 1:
        return laid_out(shown, LAYOUT, width)
    unit = UNIT.search(shown["measure"].iloc[0])
    heads = {name: f"{name} {unit[0]}" if unit else name for name in FRAMEWORKS}
    layout = replace(LAYOUT, right=(*LAYOUT.right, *heads.values()))
    return laid_out(shown.rename(columns=heads), layout, width)


def render(records: Sequence[Record], name: str) -> str:
    """The table NAME of some records: a task, 'time' say, one measure of it, such as 'time.train_step', or 'growth'."""
    if name == "growth":
        return growth.markdown(records)
    section, _, measure = name.partition(".")
    if section == verdicts.TASK:
        return verdicts.markdown(records, measure or None)
    if section not in SECTIONS or (measure and measure not in [one.name for one in tasks.measures(section)]):
        known = [f"{section}.{one.name}" for section in SECTIONS for one in tasks.measures(section)]
        raise RecordError(
            f"table {name!r}: unknown; choose from {', '.join([*SECTIONS, 'growth', verdicts.TASK, *known])}"
        )
    return markdown(cells(records, section), measure or None)


def updated_document(text: str, records: Sequence[Record]) -> str:
    """`text` with every marked table made anew. Raises RecordError for an unknown or unclosed marker."""
    names = [match["name"] for match in MARKED.finditer(text)]
    if unclosed := [name for name in OPENED.findall(text) if name not in names]:
        raise RecordError(f"marker <!-- table:{unclosed[0]} -->: not closed; add <!-- /table:{unclosed[0]} -->")
    if not names:
        raise RecordError("no <!-- table:NAME --> marker found; add one where the table belongs")
    return MARKED.sub(lambda match: f"{match[1]}\n{render(records, match['name'])}\n{match[4]}", text)


def tables(records: Sequence[Record], section: str, form: str, width: int | None) -> str:
    """The tables of one task, or of all: form 'markdown', `width` columns wide at most (None: any), or 'csv'."""
    wanted = (verdicts.TASK, *SECTIONS) if section == "all" else (section,)
    compared = verdicts.frame(records) if verdicts.TASK in wanted else pd.DataFrame()
    frames = {name: frame for name in wanted if not (frame := cells(records, name)).empty}
    if not frames and compared.empty:
        raise RecordError(f"no record with task={' or task='.join(wanted)}; run one, or choose another --section")
    if form == "csv":
        own = [] if compared.empty else [compared.assign(section=verdicts.TASK)]
        return pd.concat([*own, *frames.values()]).to_csv(index=False)
    parts = {} if compared.empty else {verdicts.TASK: verdicts.markdown(records, width=width)}
    parts |= {name: markdown(frame, width=width) for name, frame in frames.items()}
    return "\n".join(f"### {name}\n\n{text}" for name, text in parts.items())


def _text_row(row: Mapping[str, Any]) -> dict[str, str]:
    shown = {"measure": str(row["label"]), **{name: _text_of(row[name]) for name in IDENTITY}}
    marks = (mark for name, (mark, _) in ORIGINS.items() if row[name] and _concerns(name, _measure(row)))
    shown["dataset"] = " ".join([shown["dataset"], *marks])
    shown["settings"] = row["settings"]
    for framework in FRAMEWORKS:
        shown[framework] = _text_cell(*(row[f"{framework}_{name}"] for name in ("status", "samples", "value", "iqr")))
        if row[f"{framework}_samples"] and not row[f"{framework}_certificate"]:
            shown[framework] += " †"
    return shown


def _text_of(value: Any) -> str:
    return "–" if pd.isna(value) else str(value)


def _measure(row: Mapping[str, Any]) -> Measure:
    return next(one for one in tasks.measures(row["section"]) if one.name == row["measure"])


def _concerns(origin: str, measure: Measure) -> bool:
    return origin != "selects_on_test" or measure.selected


def _text_cell(status: str | None, samples: int, value: float, iqr: float) -> str:
    if not samples:
        return "–" if pd.isna(status) or status == "ok" else status.replace("_", " ")
    if samples == 1:
        return _figure(value)
    return f"{_figure(value)} [{_figure(iqr)}]{' ◊' * is_wide(value, iqr)}"


def _figure(value: float) -> str:
    """Three significant digits without an exponent; whole numbers from 100 on."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def _notes(frame: pd.DataFrame) -> list[str]:
    notes = [
        "Median, [interquartile range] where there are several samples. Each figure is of a run of its own: which side "
        "is faster, a comparison says (task=compare)."
    ]
    measures = {row["measure"]: _measure(row) for row in _dicts(frame)}
    notes += dict.fromkeys(one.note for one in measures.values() if one.note is not None)
    found = {side: frame[f"{side}_compile"].dropna().unique() for side in FRAMEWORKS}
    modes = [f"{side}: {FRAMEWORKS[side].modes.get(one[0], one[0])}" for side, one in found.items() if len(one) == 1]
    if modes:
        notes.append("; ".join(modes) + ".")
    ranges = [(row[f"{side}_value"], row[f"{side}_iqr"]) for row in _dicts(frame) for side in FRAMEWORKS]
    if any(is_wide(value, iqr) for value, iqr in ranges):
        notes.append(WIDE_RANGE)
    if any(((frame[f"{side}_samples"] > 0) & ~frame[f"{side}_certificate"]).any() for side in FRAMEWORKS):
        notes.append(NO_CERTIFICATE)
    for name, (mark, meaning) in ORIGINS.items():
        if any(own and _concerns(name, measures[of]) for own, of in zip(frame[name], frame["measure"], strict=True)):
            notes.append(f"{mark}: {meaning}")
    counts = [int(frame[f"{side}_records"].max()) for side in FRAMEWORKS]
    if max(counts) > 1:
        notes.append(f"Up to {max(counts)} finished records stand for a cell; the newest is shown.")
    if not frame["same_code"].all():
        notes.append("In some rows the two frameworks were measured with different versions of the code.")
    return notes


def _dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
