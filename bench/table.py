"""Turns records into tables, Markdown or CSV: rows measure x model x data set x hardware.

    python -m bench.table [results_dir ...] [--section TASK|all] [--format markdown|csv] [--output FILE]
    python -m bench.table --readme README.md results/reference [--check]

Markdown is for reading (median and interquartile range, marks explained below the table); CSV holds the same
cells as plain numbers. The second form rewrites the tables of a document between `<!-- table:NAME -->` and
`<!-- /table:NAME -->`; NAME is a task (time, train, compare), one measure of it such as time.train_step or
compare.peak, or growth (of the train step's time with the length).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from bench.store.files import RecordError, update_document, write_text
from bench.store.records import read_records
from bench.tasks.task import Record
from bench.views.layout import screen_width
from bench.views.tables import SECTIONS, tables, updated_document
from bench.views.verdicts import TASK as COMPARED
from settings.progress import WIDTH, wrapped
from settings.screen import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when the table was made (or is up to date), 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description="Tables from the records of runs.")
    parser.add_argument(
        "results_dir", nargs="*", default=["results"], help="folders of records, or *.sitting.jsonl (default: results)"
    )
    parser.add_argument("--section", choices=[*SECTIONS, COMPARED, "all"], default="all")
    parser.add_argument("--format", choices=["markdown", "csv"], default="markdown")
    parser.add_argument("--width", type=int, help="of the tables, in columns (default: the terminal's, or 100; 0: any)")
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
            width = options.width if options.width is not None else WIDTH if options.output else screen_width()
            _put(tables(records, options.section, options.format, width or None), options.output)
    except RecordError as error:
        print(wrapped(str(error)), file=sys.stderr)
        return 1
    return 0


def _all_records(folders: Iterable[str]) -> list[Record]:
    """The records of all folders, each id once; warnings go to stderr."""
    records: dict[str, Record] = {}
    for folder in folders:
        found, warnings = read_records(folder)
        records |= {record["id"]: record for record in found}
        for warning in warnings:
            print(wrapped(f"left out: {warning}"), file=sys.stderr)
    if not records:
        raise RecordError(f"no record in {', '.join(map(str, folders))}; run something first (python run.py ...)")
    return list(records.values())


def _put(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)


if __name__ == "__main__":
    sys.exit(command(main))
