"""What the noise on this machine is made of, and what a comparison here can show.

    python -m bench.noise [group=choice ...] [setting=value ...]
    python -m bench.noise RECORD.json ...

The first form compares both frameworks for one long wave, four processes a side and 32 turns unless told otherwise
(settings are those of run.py; results_dir holds the record), and splits what its rounds vary by: between processes, by
a drift that all share, by what each side alone feels of it, by the rest. The second reads comparisons that are there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.store.files import RecordError
from bench.store.records import read_record
from bench.views.layout import screen_width
from bench.views.noise import text
from settings.progress import wrapped
from settings.screen import command

WORDS = ("task=compare", "task.processes=4", "task.turns=32", "task.budget_seconds=1e-3")  # one wave


def main(words: Sequence[str] | None = None) -> int:
    """Command line; 0 when it was shown, 1 when not, 2 for settings that are refused."""
    words = list(sys.argv[1:] if words is None else words)
    if {"--help", "-h"} & set(words):
        print(wrapped(str(__doc__), ""))
        return 0
    paths = [Path(word) for word in words if "=" not in word and not word.startswith("-")]
    try:
        found = [text(read_record(path), screen_width()) for path in paths] if paths else [_measured(words)]
    except RecordError as error:
        print(wrapped(str(error)), file=sys.stderr)
        return 1
    except ValueError as error:
        print(wrapped(str(error)), file=sys.stderr)
        return 2
    print("\n".join(found), end="")
    return 0


def _measured(words: Sequence[str]) -> str:
    """Of a wave that is taken now. RecordError where it came to no end, ValueError for settings that are refused."""
    from bench.runs.composing import composed
    from bench.runs.job import job

    outcome = job(composed([*WORDS, *words], "bench.noise"))
    if outcome.status == "refused":
        raise ValueError(outcome.message)
    if outcome.record is None or outcome.status != "ok":
        raise RecordError(f"{outcome.label}: {outcome.status}: {outcome.message}")
    return text(outcome.record, screen_width())


if __name__ == "__main__":
    sys.exit(command(main))
