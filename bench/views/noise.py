"""What the noise of a comparison's rounds is made of, and what this machine can show: a table and advice, in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.measure import noise
from bench.measure.noise import Split
from bench.measure.waves import LOOKS
from bench.store.files import RecordError
from bench.tasks.task import Record
from bench.views.layout import Layout, filled, laid_out
from settings.progress import WIDTH

ROWS = {
    "between processes": "process",
    "drift, which all its processes share": "drift",
    "of it, what the other sides do not": "own",
    "the rest, round to round": "rest",
}


def rounds(record: Record) -> dict[str, list[np.ndarray]]:
    """Of each side, by wave: logarithms of the seconds a call, (turns, processes)."""
    own = record.get("own") or {}
    found: dict[str, list[np.ndarray]] = {}
    for wave in own.get("waves") or []:
        for side in own["sides"]:
            columns = [one["seconds"] for one in wave["processes"] if one["side"] == side["label"]]
            found.setdefault(side["label"], []).append(np.log(np.asarray(columns, np.float64)).T)
    return found


def splits(record: Record) -> dict[str, Split]:
    """Of each side, over its waves: variances are averaged. RecordError for a record without waves of two processes."""
    sides = rounds(record)
    if not sides or any(logs.shape[1] < 2 or logs.shape[0] < 3 for logs in itertools.chain(*sides.values())):
        raise RecordError(
            f"{record['id']}: has no waves with two processes a side and three turns; run task=compare task.processes=2"
        )
    names = list(sides)
    waves = [noise.split_of({name: sides[name][number] for name in names}) for number in range(len(sides[names[0]]))]
    return {name: _mean([wave[name] for wave in waves]) for name in names}


def text(record: Record, width: int | None = WIDTH) -> str:
    """The table, how the sides' drifts go together, and the interval's width to be expected after each look."""
    found = splits(record)
    table = pd.DataFrame({"standard deviation of": list(ROWS)})
    for name, one in found.items():
        table[name] = [_percent(getattr(one, field)) for field in ROWS.values()]
    layout = Layout(rows=("standard deviation of",), right=tuple(found))
    blocks = [f"{record['model']} on {record['dataset']}, {_hardware(record)}", laid_out(table, layout, width)]
    sides = rounds(record)
    for first, second in itertools.combinations(sides, 2):
        each = [noise.correlation(a, b) for a, b in zip(sides[first], sides[second], strict=True)]
        blocks.append(filled(f"The drifts of {first} and {second} correlate by {np.nanmean(each):.2f}.", width))
    settings = record["config"]["task"]
    widest = max(found.values(), key=lambda one: noise.width(one, LOOKS[0], 2, settings["turns"]))
    expected = [noise.width(widest, count, settings["processes"], settings["turns"]) for count in LOOKS]
    told = ", ".join(f"{_percent(value)} after {count}" for count, value in zip(LOOKS, expected, strict=True))
    took = float(np.mean([wave["seconds"] for wave in record["own"]["waves"]]))
    blocks.append(
        filled(
            f"A comparison with {settings['processes']} processes a side and {settings['turns']} turns a wave would "
            f"end with an interval of about {told} waves. A wave of this record took {took:.0f} s.",
            width,
        )
    )
    return "\n\n".join(blocks) + "\n"


def _mean(splits: Sequence[Split]) -> Split:
    def root(field: str) -> float:
        return math.sqrt(float(np.mean([getattr(one, field) ** 2 for one in splits])))

    lag = float(np.mean([one.lag for one in splits]))
    return Split(root("process"), root("drift"), root("rest"), root("own"), lag)


def _hardware(record: Mapping[str, Any]) -> str:
    machine = record["machine"] or {}
    return f"{(machine.get('gpu') or {}).get('name') or machine.get('cpu')}, {record['threads']} threads"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
