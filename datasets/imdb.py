"""IMDB reviews read character by character, positive or negative: the Long Range Arena's Text.

aclImdb_v1 holds 25,000 reviews to train on and 25,000 to test on, half of each positive; the unlabelled ones are not
read. A text is cut to length - 1 characters and closed by an end token; padding follows it. A character is known that
the train part, so cut, has at least 15 times (all of it, with what becomes validation). In the published reviews that
holds of 131 characters at length 4096 and of 126 of them at 2048; at a greater length these 131 stay. With padding,
unknown and end they are 134 and 129 token values; the networks of S5 and annotated have room for 135, and so they have
here, whatever the length.

Characters are numbered by code point, not by frequency: a renaming of the published tokens. Protocols:

- default: validation is cut from train with the run's seed, and test is for one evaluation at the end;
- official, s5 (state-spaces/s4, lindermanlab/S5): length 4096 (official: any), no validation part, the best epoch is
  chosen on the test part. Their read-out leaves padding out as ours does; their bidirectional layers and batch norms
  see its embedding, and ours do not;
- annotated (srush/annotated-s4): length 2048, else the same; its read-out averages over the padding too, so that
  padding is a symbol like others here.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets import archives, cache, characters, hidden
from datasets.archives import Archive
from datasets.cache import Prepared, Recipe, fingerprint, new_array, progress
from datasets.data import DataError, Dataset, Description, Split
from datasets.reasons import said
from datasets.settings import choice, refuse_unknown, validation_fraction
from datasets.splits import cut_validation, validation_count
from datasets.stored import Stored

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
_REVIEW = re.compile(r"\d+_\d+\.txt")
_PARTS, _CLASSES = ("train", "test"), ("neg", "pos")  # a class's place is its number
_FOLDERS = tuple(f"{part}/{kind}" for part in _PARTS for kind in _CLASSES)

ARCHIVE = Archive(
    file="aclImdb_v1.tar.gz",
    urls=("https://ai.stanford.edu/~amaas/data/sentiment/",),
    checksum="md5:7c2ac02c03563afcf9b574c7e56c153a",
    folder="aclImdb",
    inside="aclImdb",
    evidence=_FOLDERS,
)


@dataclass(frozen=True)
class Protocol:
    """length: its own; free: others may be chosen. masked: the network leaves the padding out."""

    length: int = 4096
    free: bool = False
    selects_on_test: bool = True
    masked: bool = True


PROTOCOLS = {
    "default": Protocol(free=True, selects_on_test=False),
    "official": Protocol(free=True),
    "s5": Protocol(),
    "annotated": Protocol(length=2048, masked=False),
}


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    refuse_unknown("imdb", settings, {"protocol", "length", "validation_fraction"})
    name = choice("imdb", settings, "protocol", PROTOCOLS)
    protocol = PROTOCOLS[name]
    length = characters.text_length("imdb", settings, protocol.length, protocol.free, name)
    fraction = validation_fraction("imdb", settings, name if protocol.selects_on_test else None)
    count = len(_CLASSES) * REVIEWS
    if protocol.selects_on_test:
        counts = {"train": count, "validation": count, "test": count}
    else:
        cut = validation_count(count, fraction)
        counts = {"train": count - cut, "validation": cut, "test": count}
    return Description(
        "imdb",
        length,
        channels=1,
        classes=len(_CLASSES),
        vocabulary=VOCABULARY,
        counts=counts,
        padded=protocol.masked,
        protocol=name,
        selects_on_test=protocol.selects_on_test,
    )


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch the reviews, check and prepare them; DataError if that fails."""
    description = describe(settings)
    _prepared(description.length, data_dir)
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs int32 tokens (M, length)."""
    description = describe(settings)
    arrays = _prepared(description.length, data_dir).arrays
    tokens, labels = arrays["tokens"], arrays["labels"]
    count = len(_CLASSES) * REVIEWS
    test = np.arange(count, 2 * count)
    if description.selects_on_test:
        train, validation = np.arange(count), test
    else:
        train, validation = cut_validation(count, validation_fraction("imdb", settings), seed)
    parts = (Split(Stored(tokens, rows), labels[rows].astype(np.int32)) for rows in (train, validation, test))
    return Dataset(description, *parts)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What the targets mean, in their order."""
    describe(settings)
    return ("negative", "positive")


def text_of(settings: Mapping[str, Any], tokens: np.ndarray) -> str:
    """The review of tokens (l,), as far as they hold it."""
    describe(settings)
    return characters.read(tokens, ALPHABET)


def _prepared(length: int, data_dir: Path) -> Prepared:
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
    labels[:] = np.tile(np.repeat(np.arange(len(_CLASSES)), REVIEWS), len(_PARTS))
    digest = hashlib.sha256()
    texts = _texts(progress(paths, "imdb"), digest)
    train = list(itertools.islice(texts, len(paths) // len(_PARTS)))
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
