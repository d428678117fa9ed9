"""What a comparison with an older commit says of a limit, and two folders of old records side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.framework import FRAMEWORKS
from bench.tasks import registry as tasks
from bench.tasks.task import Record
from bench.views.cells import cells
from bench.views.layout import Layout, laid_out

HELD, BROKEN, UNKNOWN = "held", "BROKEN", "cannot tell"
MEASURES = {"slower": None, "larger": "peak"}  # of a limit's word; None: the phase


@dataclass(frozen=True)
class Limit:
    """'slower=5%': the new commit's measure may be so much larger than the old one's."""

    word: str
    share: float

    def __str__(self) -> str:
        return f"{self.word}={100 * self.share:g}%"


def parsed(text: str) -> Limit:
    """ValueError where it is none."""
    word, _, share = text.partition("=")
    number = share.removesuffix("%")
    try:
        value = float(number) / 100
    except ValueError:
        value = math.nan
    if word not in MEASURES or not share.endswith("%") or not 0 < value < math.inf:
        raise ValueError(f"--fail-if {text}: is no limit; write slower=5% or larger=10%.")
    return Limit(word, value)


def judged(record: Record, limit: Limit) -> tuple[str, str]:
    """HELD, BROKEN or UNKNOWN, and a line that says so. The record's first side is new, its second the old commit."""
    own = record["own"]
    measure = MEASURES[limit.word] or own["phase"]
    old = own["sides"][1]["label"]
    found = next((one for one in own["verdicts"] if (one["side"], one["measure"]) == (old, measure)), None)
    title = f"{record['model']} {record['framework']} {record['dataset']}"
    if found is None or found["low"] is None:
        return UNKNOWN, f"{title}: cannot tell: too few waves"
    ratio, low, high = 1 / found["ratio"], 1 / found["high"], 1 / found["low"]  # of the new one to the old
    most = 1 + limit.share
    word = BROKEN if low > most else HELD if high <= most else UNKNOWN
    figure = f"{measure.replace('_', ' ')} x {ratio:.3f}, 95 % interval {low:.3f} to {high:.3f}, {found['waves']} waves"
    advice = ""
    if word == UNKNOWN:
        advice = f"; the limit {most:.3g} lies inside: more waves"
    return word, f"{title}: {limit} {word}: {figure}{advice}"


def side_by_side(old: Sequence[Record], new: Sequence[Record]) -> str:
    """Medians of records of single runs in two folders: figures without a word, as such runs can tell none."""
    rows: list[dict[str, Any]] = []
    for section in tasks.names():
        frames = [cells(records, section) for records in (old, new)]
        if any(frame.empty for frame in frames):
            continue
        keys = ["label", "model", "dataset", "hardware", "precision", "batch", "length"]
        joined = frames[0].merge(frames[1], on=keys, suffixes=("_old", "_new"))
        for row in joined.to_dict("records"):
            rows += [
                _row(row, name) for name in FRAMEWORKS if row[f"{name}_samples_old"] and row[f"{name}_samples_new"]
            ]
    if not rows:
        raise ValueError("the two folders hold no run of the same cell; nothing stands side by side.")
    layout = Layout(
        rows=("dataset", "hardware", "batch", "length", "measure", "model", "framework"), right=("old", "new"),
        spare=("hardware", "batch", "length"),
    )  # fmt: skip
    return laid_out(pd.DataFrame(rows), layout) + "\n"


def _row(row: Mapping[Any, Any], framework: str) -> dict[str, str]:
    shown = {name: str(row[name]) for name in ("dataset", "hardware", "batch", "length")}
    figures = {when: f"{row[f'{framework}_value_{when}']:.4g}" for when in ("old", "new")}
    return {**shown, "measure": str(row["label"]), "model": str(row["model"]), "framework": framework, **figures}
