"""What a data set is: a description that needs no file, and three splits of arrays.

Legend: M sequences, L length, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


class DataError(ValueError):
    """Data files that are missing, damaged or out of reach."""


@dataclass(frozen=True)
class Description:
    """Sizes known before any file is read.

    `vocabulary` is None for real-valued inputs, else the number of token values. `counts` maps "train",
    "validation" and "test" to the number of sequences.
    """

    name: str
    length: int
    channels: int
    classes: int
    vocabulary: int | None
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Split:
    """inputs float32 (M, L, C), or int32 (M, L) for tokens; targets int32 (M,)."""

    inputs: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A description and its three disjoint parts. The test part is for one evaluation, at the end."""

    description: Description
    train: Split
    validation: Split
    test: Split
