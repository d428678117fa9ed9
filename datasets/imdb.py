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

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.files import characters
from datasets.files import imdb as imdb_files
from datasets.parts.protocols import Protocol, chosen
from datasets.parts.splits import Cut, Parts, validation_fraction
from datasets.parts.texts import Text
from datasets.store.stored import Stored
from settings.problem import Problem
from settings.rules import check_known

PROTOCOLS: tuple[Protocol[Cut | Parts, Text], ...] = (
    Protocol("default", Cut(), Text(length=4096, free=True)),
    Protocol("official", Parts(validation="test"), Text(length=4096, free=True)),
    Protocol("s5", Parts(validation="test"), Text(length=4096)),
    Protocol("annotated", Parts(validation="test"), Text(length=2048, masked=False)),
)


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    check_known("dataset", settings, {"protocol", "length", "validation_fraction"})
    protocol = chosen(settings, PROTOCOLS)
    length = protocol.values.chosen_length(settings, protocol.name)
    fraction = validation_fraction(settings, protocol.name if protocol.split.fixed else None)
    return Description(
        "imdb",
        Problem(length, len(imdb_files.CLASSES), vocabulary=imdb_files.VOCABULARY, padding=protocol.values.padding),
        counts=protocol.split.counts(imdb_files.published(), fraction),
        protocol=protocol.name,
        selects_on_test=protocol.selects_on_test,
    )


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch the reviews, check and prepare them; DataError if that fails."""
    description = describe(settings)
    imdb_files.prepared(description.problem.length, data_dir)
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs int32 tokens (M, length)."""
    description = describe(settings)
    arrays = imdb_files.prepared(description.problem.length, data_dir).arrays
    tokens, labels = arrays["tokens"], arrays["labels"]
    split = chosen(settings, PROTOCOLS).split
    rows = split.rows(imdb_files.published(), validation_fraction(settings), seed)
    parts = (Split(Stored(tokens, own), labels[own].astype(np.int32)) for own in rows)
    return Dataset(description, *parts)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What the targets mean, in their order."""
    describe(settings)
    return ("negative", "positive")


def text_of(settings: Mapping[str, Any], tokens: np.ndarray) -> str:
    """The review of tokens (l,), as far as they hold it."""
    describe(settings)
    return characters.read(tokens, imdb_files.ALPHABET)
