"""How often each word was said in the trials of experiment=verdicts: false alarms, power, and what an interval costs.

    python tests/verdict_count.py FOLDER ...

A line for each side, over all records: how often it was called slower, faster, equal or not told, the median width of
its interval, and the seconds of a whole comparison. Then torch against jax: for each cell that was compared more than
once, how many of the intervals hold each other's ratio.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.measure.waves import EQUAL, FASTER, SLOWER, UNKNOWN
from bench.store.records import read_records

WORDS = (SLOWER, FASTER, EQUAL, UNKNOWN)


def verdicts(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the clocked phase, not of compilation and memory."""
    own = record.get("own") or {}
    return [one for one in own.get("verdicts") or [] if one["measure"] == own["phase"] and one["low"] is not None]


def main(folders: Sequence[str]) -> None:
    records = [record for folder in folders for record in read_records(folder)[0] if record["task"] == "compare"]
    words: dict[str, Counter[str]] = defaultdict(Counter)
    widths, waves, seconds = defaultdict(list), defaultdict(list), []
    cells = defaultdict(list)
    for record in records:
        seconds.append(sum(wave["seconds"] for wave in record["own"]["waves"]))
        for one in verdicts(record):
            words[one["side"]][one["word"]] += 1
            widths[one["side"]].append((one["high"] - one["low"]) / one["ratio"])
            waves[one["side"]].append(one["waves"])
            cells[record["model"], record["dataset"], str(record["config"]["task"]["length"]), one["side"]].append(one)
    print(f"{len(records)} comparisons, median {statistics.median(seconds):.0f} s")
    for side, found in words.items():
        counts = ", ".join(f"{word} {found[word]}" for word in WORDS if found[word])
        width = statistics.median(widths[side])
        print(f"{side}: {counts}; width {width:.1%}, {statistics.median(waves[side]):g} waves (medians)")
    for cell, found in cells.items():
        pairs = list(itertools.permutations(found, 2))
        held = sum(one["low"] <= other["ratio"] <= one["high"] for one, other in pairs)
        if pairs and cell[-1] in ("torch", "jax"):
            ratios = ", ".join(f"{one['ratio']:.3f}" for one in found)
            print(f"{' '.join(cell)}: {held} of {len(pairs)} intervals hold another sitting's ratio ({ratios})")


if __name__ == "__main__":
    main(sys.argv[1:])
