"""AAN's pairs of papers as the Long Range Arena publishes them: found in data_dir, checked, and prepared as characters.

new_aan_pairs.{train,eval,test}.tsv: no header, no quoting, and on each line a label (0.0 or 1.0), two identifiers and
two texts, with tabs between. A text stands there as Python writes bytes (b'...'), and it is read as it stands, prefix
and escapes included: that is the official vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import DataError
from datasets.files import characters, sources
from datasets.store import cache
from datasets.store.cache import Prepared, Recipe, fingerprint, new_array, progress
from settings.reasons import said

DOCUMENTS = 2
ALPHABET = "".join(map(chr, range(0x20, 0x7F)))
FILES = {
    "train": "new_aan_pairs.train.tsv",
    "validation": "new_aan_pairs.eval.tsv",
    "test": "new_aan_pairs.test.tsv",
}
FOLDERS = ("lra_release/lra_release/tsv_data", "lra_release/tsv_data", "tsv_data", "aan", "retrieval", "")
COLUMNS = ("label", "id1", "id2", "text1", "text2")
_HINT = f"put {', '.join(FILES.values())} there"
_LABELS = {b"0.0": 0, b"0": 0, b"1.0": 1, b"1": 1}


def prepared(length: int, data_dir: Path) -> Prepared:
    """Of each part <part>_tokens uint8 (M, 2, length) and <part>_labels uint8 (M,), made if need be."""
    names = tuple(FILES.values())
    folder = sources.first_folder(data_dir, FOLDERS, names, f"{_HINT} (from the Long Range Arena's release)")
    recipe = Recipe("retrieval", {"length": length}, [__file__, characters.__file__])
    if folder is None:
        return cache.prepared(recipe, data_dir, None, partial(_missing, data_dir))
    paths = [folder / name for name in names]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: is missing, while others of the three are there; {_HINT}")
    return cache.prepared(recipe, data_dir, fingerprint(*paths), partial(_make, folder, length))


def _missing(data_dir: Path, into: Path) -> Mapping[str, Any]:
    raise DataError(
        f"dataset retrieval: {', '.join(FILES.values())} are not in data_dir={str(data_dir)!r}. They are not fetched, "
        "as they come with all of the Long Range Arena in one archive of 7.7 GB, lra_release.gz (see "
        "https://github.com/google-research/long-range-arena): unpack it there, or put the three files from its "
        f"folder lra_release/tsv_data into {data_dir / 'aan'}"
    )


def _make(folder: Path, length: int, into: Path) -> Mapping[str, Any]:
    digest = hashlib.sha256()
    table = characters.token_table(ALPHABET)
    counts = {}
    for part, name in FILES.items():
        path = folder / name
        count = counts[part] = _count(path, digest)
        tokens = new_array(into, f"{part}_tokens", np.uint8, (count, DOCUMENTS, length))
        labels = new_array(into, f"{part}_labels", np.uint8, (count,))
        for row, (where, label, texts) in enumerate(progress(_pairs(path), f"retrieval {part}", count)):
            labels[row] = label
            for text, document in zip(texts, tokens[row], strict=True):
                characters.write(text, table, document)
                if part == "train" and characters.UNKNOWN in document:
                    raise _foreign(text, where)
    return {"source": f"sha256:{digest.hexdigest()}", "counts": counts}


def _count(path: Path, digest: Any) -> int:
    """How many pairs the file has; its bytes go into the digest."""
    count = 0
    for _, line in _lines(path):
        digest.update(line)
        count += not line.isspace()
    if count == 0:
        raise DataError(f"{path}: holds no pair of documents; {_HINT} again")
    return count


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with open(path, "rb") as file:
            yield from enumerate(file, start=1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({said(error)}); {_HINT}") from error


def _pairs(path: Path) -> Iterator[tuple[str, int, tuple[str, str]]]:
    """Where it stands, the label and the texts of each line, checked."""
    for number, line in _lines(path):
        if not line.isspace():
            where = f"{path}: line {number}"
            yield where, *_pair(line, where)


def _pair(line: bytes, where: str) -> tuple[int, tuple[str, str]]:
    fields = line.rstrip(b"\r\n").split(b"\t")
    if len(fields) != len(COLUMNS):
        raise DataError(
            f"{where} has {len(fields)} columns; expected {len(COLUMNS)}, with tabs between: {', '.join(COLUMNS)}. "
            f"{_HINT} again"
        )
    if fields[0] not in _LABELS:
        given = fields[0][:20].decode("utf-8", "replace")
        raise DataError(f"{where}: the label is {given!r}; expected 0.0 or 1.0. {_HINT} again")
    first, second = (
        characters.decoded(raw, f"{where}, {column}", f"{_HINT} again")
        for column, raw in zip(COLUMNS[3:], fields[3:], strict=True)
    )
    for column, text in zip(COLUMNS[3:], (first, second), strict=True):
        if not text.strip():
            raise DataError(f"{where}: {column} is empty; {_HINT} again")
    if not line.endswith(b"\n") and second[:2] in ("b'", 'b"') and (len(second) == 2 or second[-1] != second[1]):
        raise DataError(f"{where}: the file ends within text2, so that it is cut off; {_HINT} again")
    return _LABELS[fields[0]], (first, second)


def _foreign(text: str, where: str) -> DataError:
    first = next(character for character in text if character not in ALPHABET)
    return DataError(
        f"{where}: U+{ord(first):04X} {first!r} is no character of the published training texts, which are printable "
        r"ASCII (others stand there as escapes, as in b'\xe2'), so that the vocabulary has no number for it. "
        f"{_HINT} again"
    )
