"""ListOps as the Long Range Arena publishes it: basic_{train,val,test}.tsv, with columns Source and Target.

Parentheses, which say nothing that the brackets do not, are dropped. The symbols are the generator's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import DataError
from datasets.files import listops_values, sources
from datasets.generators.listops import CLOSE, MAX, MED, MIN, SM, SYMBOLS, ZERO
from datasets.store.cache import progress
from settings.reasons import said

CLASSES = 10
FILES = {"train": "basic_train.tsv", "validation": "basic_val.tsv", "test": "basic_test.tsv"}
FOLDERS = ("lra_release/lra_release/listops-1000", "listops-1000", "listops", "")
_HINT = f"put {', '.join(FILES.values())} of the Long Range Arena's lra_release.gz there"
_NUMBERS = {symbol.encode(): number for number, symbol in enumerate(SYMBOLS) if number >= ZERO}


def find(data_dir: Path) -> Path | None:
    """The folder of the files; None where there is none."""
    return sources.first_folder(data_dir, FOLDERS, tuple(FILES.values()), _HINT)


def expressions(folder: Path | None, data_dir: Path) -> tuple[list[tuple[np.ndarray, int]], dict[str, int], str]:
    """All rows, checked: (tokens uint8 (l,), target); how many each part has; the checksum of what was read."""
    if folder is None:
        raise DataError(
            f"dataset listops: {', '.join(FILES.values())} are not in data_dir={str(data_dir)!r}, nor in "
            f"{', '.join(FOLDERS[:-1])} below it; {_HINT}, or choose dataset.source=auto, which generates them"
        )
    digest = hashlib.sha256()
    rows: list[tuple[np.ndarray, int]] = []
    counts = {}
    for part, name in FILES.items():
        before = len(rows)
        rows.extend(progress(_expressions(folder / name, digest), name))
        counts[part] = len(rows) - before
    return rows, counts, f"sha256:{digest.hexdigest()}"


def _expressions(path: Path, digest: Any) -> Iterator[tuple[np.ndarray, int]]:
    """A file's rows, checked: (tokens uint8 (l,), target). All that is read goes into the digest."""
    try:
        with open(path, "rb") as file:
            header = file.readline()
            digest.update(header)
            columns = _columns(header, path)
            number = 1
            for number, line in enumerate(file, start=2):
                digest.update(line)
                if line.strip():
                    yield _expression(line.rstrip(b"\r\n").split(b"\t"), columns, f"{path}: line {number}")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({said(error)}); {_HINT}") from error
    if number == 1:
        raise DataError(f"{path}: holds no expression; {_HINT} again")


def _columns(header: bytes, path: Path) -> tuple[int, int, int]:
    """Where the expression and its value stand, and how many columns there are."""
    names = header.rstrip(b"\r\n").split(b"\t")
    for name in (b"Source", b"Target"):
        if name not in names:
            raise DataError(
                f"{path}: line 1 has no column {name.decode()!r}; it must name Source and Target, with a tab between; "
                f"{_HINT} again"
            )
    return names.index(b"Source"), names.index(b"Target"), len(names)


def _expression(fields: Sequence[bytes], columns: tuple[int, int, int], where: str) -> tuple[np.ndarray, int]:
    *own, count = columns
    if len(fields) != count:
        raise DataError(
            f"{where} has {len(fields)} columns, line 1 {count}; expected an expression, a tab and its value; {_HINT} "
            "again"
        )
    source, target = (fields[column] for column in own)
    if not (len(target) == 1 and target.isdigit()):
        raise DataError(f"{where}: the target is {_quoted(target)}; expected a digit from 0 to 9; {_HINT} again")
    words = source.translate(None, b"()").split()
    try:
        tokens = bytes(map(_NUMBERS.__getitem__, words))
    except KeyError as error:
        raise DataError(
            f"{where}: {_quoted(error.args[0])} is no symbol of ListOps; expected one of {' '.join(SYMBOLS[ZERO:])}; "
            f"{_HINT} again"
        ) from error
    opened, closed = sum(tokens.count(operator) for operator in (MAX, MED, MIN, SM)), tokens.count(CLOSE)
    if not words or opened != closed:
        raise DataError(
            f"{where}: {opened} brackets are opened and {closed} closed, so that it is cut off; {_HINT} again"
        )
    if not _paired(source):
        raise DataError(f"{where}: its parentheses do not come in pairs, so that it is damaged; {_HINT} again")
    value = listops_values.value(tokens)
    if value is None:
        raise DataError(
            f"{where}: {_quoted(source)} ... is no single expression: its brackets do not match, or an operator has "
            f"fewer than {listops_values.LEAST_ARGUMENTS} arguments; {_HINT} again"
        )
    if value != int(target):
        raise DataError(f"{where}: the target is {int(target)}, but the expression's value is {value}; {_HINT} again")
    return np.frombuffer(tokens, np.uint8), value


def _paired(source: bytes) -> bool:
    """Whether each parenthesis that is opened is closed behind it; they say nothing else that the brackets do not."""
    letters = np.frombuffer(source, np.uint8)
    depth = np.cumsum((letters == ord("(")).astype(np.int8) - (letters == ord(")")).astype(np.int8), dtype=np.int64)
    return bool(depth[-1] == 0 and depth.min() >= 0)


def _quoted(raw: bytes) -> str:
    return repr(raw[:20].decode("utf-8", "replace"))
