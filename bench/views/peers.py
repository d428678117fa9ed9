"""How public implementations compare with ours where both were measured in one sitting: a table from raw samples.

A line of such a file is one process (results/README.md says what it holds). Processes took turns, theirs and ours, in
rounds. A ratio is formed within a round, of medians of single calls that were waited for; the table shows its median
over the rounds and its range. Measuring itself is not here: the other implementations are no part of this project.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from bench.store import kinds
from bench.store.files import RecordError
from bench.views.layout import Layout, filled, laid_out
from settings.plain_json import strict_json
from settings.reasons import said

OURS = "ssm-bench"
_SECONDS = kinds.list_of(kinds.bound)  # ratios are formed of them
FIELDS = {
    **{name: kinds.name for name in ("case", "model", "framework", "implementation", "commit")},
    **{"round": kinds.whole, "train_step_seconds": _SECONDS, "forward_seconds": _SECONDS, "peak_bytes": kinds.count},
}
LAYOUT = Layout(
    rows=("case", "model", "implementation"),
    right=("its / ours (s)", "step, its/ours", "forward, its/ours", "its (MB)", "ours (MB)", "its/ours"),
    spare=("its / ours (s)",),
    spoken={"case": "case {}"},
)
MARKED = re.compile(r"(<!-- peers -->\n).*?(<!-- /peers -->)", re.DOTALL)
Line = dict[str, Any]


def read(paths: Sequence[Path]) -> list[Line]:
    """Every line of the files. Raises RecordError naming file, line and field."""
    lines = []
    for path in paths:
        try:
            texts = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RecordError(f"{path}: cannot be read ({said(error)}); name a file of results/peers") from error
        for number, text in enumerate(texts, start=1):
            try:
                lines.append(_checked(strict_json(text)))
            except (ValueError, RecursionError) as error:
                raise RecordError(
                    f"{path}:{number}: is no process of a comparison ({said(error)}); mend or remove it"
                ) from error
    return lines


def _checked(line: Any) -> Line:
    if not isinstance(line, dict):
        raise ValueError(f"an object was expected, not {line!r}"[:200])
    for name, check in FIELDS.items():
        if name not in line:
            raise ValueError(f"{name} is missing")
        wanted = check(line[name]) or ("a list that is not empty" if line[name] == [] else None)
        if wanted:
            raise ValueError(f"{name} is {line[name]!r}; expected {wanted}"[:300])
    return line


def comparison(lines: Sequence[Line]) -> pd.DataFrame:
    """One row for each other implementation in each case, with its figures as ratios to ours of the same round.

    Columns: case, model, framework, implementation, commit, seconds and ours_seconds (train step), step and forward
    (lists, a ratio each round), peak and ours_peak (bytes, the largest).
    """
    rows = []
    names = ("case", "model", "framework", "implementation", "commit")
    for key in dict.fromkeys(tuple(line[name] for name in names) for line in lines if line["implementation"] != OURS):
        row = dict(zip(names, key, strict=True))
        cell = {name: row[name] for name in ("case", "model", "framework")}
        theirs = [line for line in lines if tuple(line[name] for name in names) == key]
        rounds = sorted({line["round"] for line in theirs})
        ours = [line for line in lines if line["implementation"] == OURS and cell.items() <= line.items()]
        if lacking := [number for number in rounds if number not in {line["round"] for line in ours}]:
            raise RecordError(f"{' '.join(key[:4])}: round {lacking[0]} holds no process of {OURS} to compare with")
        for name in ("train_step", "forward"):
            row[name] = [_median(theirs, name, number) / _median(ours, name, number) for number in rounds]
        row["seconds"] = median(_median(theirs, "train_step", number) for number in rounds)
        row["ours_seconds"] = median(_median(ours, "train_step", number) for number in rounds)
        row["peak"], row["ours_peak"] = (max(line["peak_bytes"] for line in side) for side in (theirs, ours))
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["case", "model", "framework", "implementation"], kind="stable")


def markdown(frame: pd.DataFrame) -> str:
    """The tables of a comparison, of times for each case and of memory: above 1, the other takes more than ours."""
    named = {"case": frame["case"], "model": frame["model"] + " " + frame["framework"]}
    named["implementation"] = frame["implementation"]
    seconds = zip(frame["seconds"], frame["ours_seconds"], strict=True)
    times = pd.DataFrame(named).assign(seconds=[f"{its:.3g} / {ours:.3g}" for its, ours in seconds])
    times["step, its/ours"] = frame["train_step"].map(_ratio)
    times["forward, its/ours"] = frame["forward"].map(_ratio)
    times = times.rename(columns={"seconds": "its / ours (s)"})
    memory = pd.DataFrame(named)
    memory["its (MB)"] = (frame["peak"] / 1e6).map("{:.0f}".format)
    memory["ours (MB)"] = (frame["ours_peak"] / 1e6).map("{:.0f}".format)
    memory["its/ours"] = (frame["peak"] / frame["ours_peak"]).map("{:.1f}".format)
    commits = dict.fromkeys(frame["implementation"] + "@" + frame["commit"].str[:7])
    blocks = [f"Train step and forward, case {case}:\n\n{laid_out(rows, LAYOUT)}" for case, rows in _by_case(times)]
    blocks.append(f"Peak memory:\n\n{laid_out(memory, LAYOUT)}")
    blocks.append(filled(f"Commits: {', '.join(commits)}."))
    return "\n\n".join(blocks) + "\n"


def _by_case(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(case), own.drop(columns="case")) for case, own in rows.groupby("case", sort=False)]


def updated_document(text: str, table: str) -> str:
    """`text` with its marked table replaced. Raises RecordError where no place is marked."""
    if not MARKED.search(text):
        raise RecordError("no <!-- peers --> ... <!-- /peers --> found; add it where the table belongs")
    return MARKED.sub(lambda match: f"{match[1]}\n{table}\n{match[2]}", text)


def _median(lines: Sequence[Line], name: str, number: int) -> float:
    return median(value for line in lines if line["round"] == number for value in line[f"{name}_seconds"])


def _ratio(rounds: list[float]) -> str:
    middle = f"{median(rounds):.1f}"
    return middle if len(rounds) == 1 else f"{middle} ({min(rounds):.1f} to {max(rounds):.1f})"
