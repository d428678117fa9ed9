"""What a data set is: a description that needs no file, and three splits of arrays.

Legend: M sequences, L length, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from datasets.store.stored import Stored
from settings.problem import Problem

PADDING = 0  # what fills texts here up to their length; no other symbol of theirs has this number


class DataError(ValueError):
    """Data files that are missing, damaged or out of reach."""


@dataclass(frozen=True)
class Description:
    """What is known of a data set before its files are read, and, once they are prepared, how many sequences it has.

    `problem`: what it asks of a network. `counts` maps "train", "validation" and "test" to numbers of sequences; None
    where only the files know them. `protocol`: whose split and values. `selects_on_test`: that protocol chooses its
    best epoch on the test part. `generated`: made here by a program in the style of the published data.
    """

    name: str
    problem: Problem
    counts: Mapping[str, int] | None
    protocol: str = "default"
    selects_on_test: bool = False
    generated: bool = False


@dataclass(frozen=True)
class Split:
    """inputs float32 (M, L, C), or int32 tokens (M, L), (M, documents, L) for several a target; targets int32 (M,), or
    (M, L) with one a step, NO_TARGET where a step has none.
    """

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
