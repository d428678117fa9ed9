"""What a data set is: a description that needs no file, and three splits of arrays.

Legend: M sequences, L length, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from datasets.store.stored import Stored

PADDING = 0  # the token that fills a sequence up to its data set's length; no other symbol has this number


class DataError(ValueError):
    """Data files that are missing, damaged or out of reach."""


@dataclass(frozen=True)
class Description:
    """What is known of a data set before its files are read, and, once they are prepared, how many sequences it has.

    `vocabulary` is None for real-valued inputs, else the number of token values. `padded`: the sequences end before
    `length`, and PADDING fills what is left (tokens only). `documents`: token sequences that belong to one target.
    `counts` maps "train", "validation" and "test" to numbers of sequences; None where only the files know them.
    `protocol`: whose split and values. `selects_on_test`: that protocol chooses its best epoch on the test part.
    `generated`: made here by a program in the style of the published data.
    """

    name: str
    length: int
    channels: int
    classes: int
    vocabulary: int | None
    counts: Mapping[str, int] | None
    padded: bool = False
    documents: int = 1
    protocol: str = "default"
    selects_on_test: bool = False
    generated: bool = False


@dataclass(frozen=True)
class Split:
    """inputs float32 (M, L, C), or int32 tokens (M, L), (M, documents, L) for several a target; targets int32 (M,)."""

    inputs: np.ndarray | Stored
    targets: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A description and its three parts, disjoint (but see selects_on_test). The test part is for one evaluation, at
    the end.
    """

    description: Description
    train: Split
    validation: Split
    test: Split
