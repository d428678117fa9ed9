"""A gate between two commits: is this tree slower, or larger, than BASE?

    python -m bench.regress BASE [--fail-if slower=5%] [--cell "WORDS"] [--budget SECONDS] [--results FOLDER]
    python -m bench.regress OLD_FOLDER NEW_FOLDER

The first form compares this tree with the commit BASE by task=compare, cell by cell, and prints a line a cell. It
exits with 1 only where the data show that a limit is broken (the whole 95 % interval lies beyond it), with 3 where they
cannot tell, with 2 where a cell could not be compared, else with 0. A cell is words of run.py, such as
--cell "model=s5 framework=jax experiment=demo"; without any, the demo's three models in both frameworks. Limits: slower
(the train step) and larger (peak memory). The second form lists two folders of old records side by side, and gives no
word.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.framework import FRAMEWORKS
from bench.store.records import read_records
from bench.views.regress import BROKEN, UNKNOWN, Limit, judged, parsed, side_by_side
from settings.progress import wrapped
from settings.screen import command

CELLS = [
    f"experiment=demo model={model} framework={name}"
    for model, name in itertools.product(("s4", "dss", "s5"), FRAMEWORKS)
]
DONE, SLOWER, NOT_RUN, UNTOLD = 0, 1, 2, 3  # exit statuses


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status as the text above says."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.regress",
        description=wrapped(str(__doc__), ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", help="a commit; or a folder of records")
    parser.add_argument("folder", nargs="?", help="a second folder of records")
    parser.add_argument("--fail-if", action="append", metavar="LIMIT", help="slower=5%% (the default), larger=10%%")
    parser.add_argument("--cell", action="append", metavar="WORDS", help="settings of run.py, quoted as one")
    parser.add_argument("--budget", type=float, default=300.0, metavar="SECONDS", help="of a cell (default: 300)")
    parser.add_argument("--results", default="results/regress", metavar="FOLDER", help="for the records")
    options = parser.parse_args(arguments)
    try:
        if options.folder is not None:
            print(side_by_side(*(read_records(folder)[0] for folder in (options.base, options.folder))), end="")
            return DONE
        limits = [parsed(text) for text in options.fail_if or ["slower=5%"]]
        _must_be_a_commit(options.base)
        own = [f"task.budget_seconds={options.budget}", f"results_dir='{options.results}'"]
        statuses = [_cell(options.base, [*shlex.split(cell), *own], limits) for cell in options.cell or CELLS]
    except ValueError as error:
        print(wrapped(str(error)), file=sys.stderr)
        return NOT_RUN
    return next((status for status in (SLOWER, NOT_RUN, UNTOLD) if status in statuses), DONE)


def _must_be_a_commit(base: str) -> None:
    from bench.runs.trees import commit_of

    commit_of(Path(__file__).resolve().parents[1], base, "BASE")


def _cell(base: str, words: Sequence[str], limits: Sequence[Limit]) -> int:
    """Compares one cell, and prints its lines."""
    from bench.runs.composing import composed
    from bench.runs.job import job

    side = f"task.b=[{_quoted(f'code={base}')}]"
    outcome = job(composed(["task=compare", *words, side], "bench.regress"))
    if outcome.record is None or outcome.status != "ok":
        print(wrapped(f"{outcome.label}: {outcome.status}: {outcome.message}"), flush=True)
        return NOT_RUN
    found = [judged(outcome.record, limit) for limit in limits]
    for _, line in found:
        print(wrapped(line), flush=True)
    told = {word for word, _ in found}
    return SLOWER if BROKEN in told else UNTOLD if UNKNOWN in told else DONE


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


if __name__ == "__main__":
    sys.exit(command(main))
