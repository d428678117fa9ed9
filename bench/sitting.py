"""Packs the records and certificates of a folder into one file, a line each, for keeping.

    python -m bench.sitting FOLDER FILE.sitting.jsonl
    python -m bench.sitting results/mine results/reference/2026-11-22-epyc-time.sitting.jsonl

Tables and certificates are read from it as from the folder, which stays as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.store.files import RecordError
from bench.store.sittings import pack
from settings.progress import wrapped
from settings.screen import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when the file was written, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench.sitting", description="Many records in one file, to keep.")
    parser.add_argument("folder", type=Path, help="a results_dir")
    parser.add_argument("file", type=Path, help="the file to write, *.sitting.jsonl")
    options = parser.parse_args(arguments)
    try:
        records, certificates = pack(options.folder, options.file)
    except RecordError as error:
        print(wrapped(str(error)), file=sys.stderr)
        return 1
    print(f"{options.file}: {records} records, {certificates} certificates")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
