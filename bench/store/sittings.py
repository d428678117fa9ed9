"""A sitting: what was measured together, records and certificates, as one file with a line each.

For keeping in the repository, where a file a run is too many to read. `records.read_records` and `read_certificates`
read it like the files that it was made of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.store.files import RecordError, write_text
from bench.store.records import SITTING, read_certificates, read_records


def pack(folder: Path, target: Path) -> tuple[int, int]:
    """Writes the records and certificates of a folder to `target`, oldest first; how many there are of each.

    Raises RecordError where one of them is damaged, where there is none, where `target` has another name than
    *.sitting.jsonl or is there already, or cannot be written. What is in the folder stays.
    """
    if not target.name.endswith(SITTING):
        raise RecordError(f"{target}: a sitting's name ends in {SITTING}; call it {target.name.split('.')[0]}{SITTING}")
    if target.exists():
        raise RecordError(f"{target}: is there already; choose another name, or delete it")
    (records, damaged), (certificates, more) = read_records(folder), read_certificates(folder)
    if damaged or more:
        raise RecordError(f"{[*damaged, *more][0]} (and so this folder is not packed)")
    if not records:
        raise RecordError(f"results folder {folder}: holds no record; name the folder of a sitting")
    lines = sorted([*records, *certificates], key=lambda one: (one["created"], one["id"]))
    write_text(target, "".join(f"{_line(one)}\n" for one in lines))
    return len(records), len(certificates)


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
