"""Retrieval of the Long Range Arena (AAN): whether two papers are linked by a citation, from their texts' characters.

Read from the published new_aan_pairs.{train,eval,test}.tsv: no header, no quoting, and on each line a label (0.0 or
1.0), two identifiers and two texts, with tabs between. A text stands there as Python writes bytes (b'...'), and it is
read as it stands, prefix and escapes included: that is the official vocabulary of 98, the 95 printable ASCII characters
and padding, unknown and end. Each text is cut to length - 1 characters and closed by an end token; padding follows it.
Characters are numbered by code point, not by frequency: a renaming of the published tokens.

The published eval part is the validation part. Protocols official and s5 (state-spaces/s4, lindermanlab/S5) are the
default with length 4000. Their read-out leaves padding out as ours does; their bidirectional layers and batch norms see
its embedding, and ours do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.files import characters
from datasets.files import retrieval as retrieval_files
from datasets.parts.protocols import Protocol, chosen
from datasets.parts.splits import Parts
from datasets.parts.texts import Text
from datasets.store.stored import Stored
from settings.problem import Problem
from settings.rules import check_known

LENGTH = 4000  # of a document
PROTOCOLS = (
    Protocol("default", Parts(), Text(LENGTH, free=True)),
    Protocol("official", Parts(), Text(LENGTH, free=True)),
    Protocol("s5", Parts(), Text(LENGTH)),
)


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone, without the counts; ValueError on an unknown key or a senseless value."""
    return _description(settings, None)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find the published files, check and prepare them; DataError if that fails."""
    length = describe(settings).problem.length
    return _description(settings, retrieval_files.prepared(length, data_dir).notes["counts"])


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three published parts, inputs int32 tokens (M, 2, length). `seed` decides nothing."""
    found = retrieval_files.prepared(describe(settings).problem.length, data_dir)
    parts = []
    for part in chosen(settings, PROTOCOLS).split.names:
        tokens, labels = found.arrays[f"{part}_tokens"], found.arrays[f"{part}_labels"]
        parts.append(Split(Stored(tokens, np.arange(len(tokens))), labels.astype(np.int32)))
    return Dataset(_description(settings, found.notes["counts"]), *parts)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What the targets mean, in their order."""
    describe(settings)
    return ("not linked", "linked")


def text_of(settings: Mapping[str, Any], tokens: np.ndarray) -> str:
    """The text of tokens (l,), as far as they hold it; of (2, l) the two, one a line."""
    describe(settings)
    return "\n".join(characters.read(row, retrieval_files.ALPHABET) for row in np.atleast_2d(tokens))


def _description(settings: Mapping[str, Any], counts: Mapping[str, int] | None) -> Description:
    check_known("dataset", settings, {"protocol", "length"})
    protocol = chosen(settings, PROTOCOLS)
    problem = Problem(
        protocol.values.chosen_length(settings, protocol.name),
        classes=2,
        vocabulary=characters.FIRST + len(retrieval_files.ALPHABET),
        padding=protocol.values.padding,
        documents=retrieval_files.DOCUMENTS,
    )
    return Description(
        "retrieval",
        problem,
        counts,
        protocol=protocol.name,
        selects_on_test=protocol.selects_on_test,
    )
