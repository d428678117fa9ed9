"""aclImdb_v1's reviews: found in data_dir or fetched, checked, and prepared as characters.

It holds 25,000 reviews to train on and 25,000 to test on, half of each positive; the unlabelled ones are not read. A
character is known that the train part, cut to the length asked for, has at least 15 times; the others are UNKNOWN.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import DataError
from datasets.files import archives, characters
from datasets.files.archives import Archive
from datasets.store import cache
from datasets.store.cache import Prepared, Recipe, fingerprint, new_array, progress
from settings import hidden
from settings.reasons import said

REVIEWS = 12_500  # a part and class
VOCABULARY = 135
LEAST = 15  # times that a known character is seen in the train part
ALPHABET = (
    "\t"
    + "".join(map(chr, range(0x20, 0x7F)))
    + "\x84\x85\x91\x96\x97"  # Windows' quotation marks, dots and dashes, which the reviews have under wrong numbers
    + "¡£¨«´»½àáâãäåçèéêëíïñóôöúü"
    + "\N{EN DASH}\N{RIGHT SINGLE QUOTATION MARK}\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
)
_COUNTED = 4096  # the length of the Long Range Arena: a greater one brings no further characters
PARTS, CLASSES = ("train", "test"), ("neg", "pos")  # a class's place is its number
_FOLDERS = tuple(f"{part}/{kind}" for part in PARTS for kind in CLASSES)

_REVIEW = re.compile(r"\d+_\d+\.txt")
ARCHIVE = Archive(
    file="aclImdb_v1.tar.gz",
    urls=("https://ai.stanford.edu/~amaas/data/sentiment/",),
    checksum="md5:7c2ac02c03563afcf9b574c7e56c153a",
    folder="aclImdb",
    inside="aclImdb",
    evidence=_FOLDERS,
)


def published() -> dict[str, int]:
    """How many reviews the parts have."""
    return {part: len(CLASSES) * REVIEWS for part in PARTS}


def prepared(length: int, data_dir: Path) -> Prepared:
    """tokens uint8 (50000, length) and labels uint8 (50000,), train before test, made if need be."""
    recipe = Recipe("imdb", {"length": length}, [__file__, characters.__file__])
    root = archives.find(ARCHIVE, data_dir)
    if root is None and not cache.kept(recipe, data_dir):
        root = archives.unpacked(ARCHIVE, data_dir)
    source = None if root is None else fingerprint(*(root / folder for folder in _FOLDERS))
    return cache.prepared(recipe, data_dir, source, partial(_make, data_dir, length))


def _make(data_dir: Path, length: int, folder: Path) -> Mapping[str, Any]:
    root = archives.unpacked(ARCHIVE, data_dir)
    paths = [path for each in _FOLDERS for path in _reviews(root / each)]
    tokens = new_array(folder, "tokens", np.uint8, (len(paths), length))
    labels = new_array(folder, "labels", np.uint8, (len(paths),))
    labels[:] = np.tile(np.repeat(np.arange(len(CLASSES)), REVIEWS), len(PARTS))
    digest = hashlib.sha256()
    texts = _texts(progress(paths, "imdb"), digest)
    train = list(itertools.islice(texts, len(paths) // len(PARTS)))
    seen = _seen(train, min(length, _COUNTED) - 1)
    table = characters.token_table(ALPHABET, left_out=set(ALPHABET) - seen)
    for row, text in enumerate(train):
        characters.write(text, table, tokens[row])
    for row, text in enumerate(texts, len(train)):
        characters.write(text, table, tokens[row])
    return {"source": f"sha256:{digest.hexdigest()}", "symbols": characters.FIRST + len(seen)}


def _reviews(folder: Path) -> list[Path]:
    """A folder's files in an order that no machine changes; DataError unless all are there."""
    try:
        names = hidden.own(os.listdir(folder))
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({said(error)}); make it a folder that can be") from error
    paths = [folder / name for name in names if name.endswith(".txt")]
    for path in paths:
        if not _REVIEW.fullmatch(path.name):
            raise DataError(
                f"{path}: a review's name is <number>_<rating>.txt; remove what does not belong to {ARCHIVE.file}"
            )
    if len(paths) != REVIEWS:
        raise DataError(
            f"{folder}: {len(paths)} reviews (*.txt) are there; the published data has {REVIEWS}. Unpack "
            f"{ARCHIVE.file} completely, or remove {ARCHIVE.folder}, and it is fetched and unpacked anew"
        )
    return paths


def _texts(paths: Iterator[Path], digest: Any) -> Iterator[str]:
    """The reviews, checked; all that is read goes into the digest."""
    fix = f"put the file of {ARCHIVE.file} there"
    for path in paths:
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({said(error)}); {fix}") from error
        digest.update(f"{path.parent.parent.name}/{path.parent.name}/{path.name} {len(raw)}\n".encode() + raw)
        text = characters.decoded(raw, str(path), fix)
        if not text.strip():
            raise DataError(f"{path}: the review is empty; {fix}")
        yield text


def _seen(texts: Iterable[str], length: int) -> set[str]:
    """The characters that the texts' first `length` ones have LEAST times; DataError if others than the alphabet's."""
    counts = Counter[str]()
    for text in texts:
        counts.update(text[:length])
    seen = {character for character, count in counts.items() if count >= LEAST}
    if foreign := sorted(seen - set(ALPHABET)):
        first = foreign[0]
        raise DataError(
            f"dataset imdb: U+{ord(first):04X} {first!r} is seen {counts[first]} times in the train part (so are "
            f"{len(foreign) - 1} others); in the published reviews only the {len(ALPHABET)} characters that this data "
            f"set knows come {LEAST} times. Remove {ARCHIVE.folder}, and the published reviews are fetched"
        )
    return seen
