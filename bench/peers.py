"""How public implementations compare with ours where both were measured in one sitting.

    python -m bench.peers results/peers/*.jsonl --readme docs/performance.md [--check]

bench/views/peers.py makes the tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.store.files import RecordError, update_document
from bench.views.peers import comparison, markdown, read, updated_document
from settings.progress import wrapped
from settings.screen import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when the table was made (or is up to date), 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Public implementations beside ours.")
    parser.add_argument("files", nargs="+", type=Path, help="files of results/peers")
    parser.add_argument("--readme", type=Path, help="rewrite the marked table of this document")
    parser.add_argument("--check", action="store_true", help="with --readme: only say whether it is up to date")
    options = parser.parse_args(arguments)
    if options.check and not options.readme:
        parser.error("--check needs --readme FILE")
    try:
        table = markdown(comparison(read(options.files)))
        if options.readme:
            update_document(options.readme, partial(updated_document, table=table), options.check)
        else:
            print(table, end="")
    except RecordError as error:
        print(wrapped(str(error)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
