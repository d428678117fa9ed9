"""Sets of clips of sound, prepared as one array: which are for what, and as which numbers they are shown."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.parts.protocols import AnySplit, Protocol
from datasets.parts.splits import Rows, torch_permutation
from datasets.store.cache import Prepared

_S4TORCH_SEED, _S4TORCH_FRACTION = 1234, 0.1


class ClipSplit(AnySplit, typing.Protocol):
    """rows: of train, validation and test among prepared clips, by the arrays that say of each what it is."""

    def rows(self, clips: Prepared) -> Rows: ...


@dataclass(frozen=True)
class Listed:
    """By the official lists or folders: the array `parts` has 0, 1 or 2 for train, validation and test."""

    selects_on_test: ClassVar[bool] = False

    def rows(self, clips: Prepared) -> Rows:
        parts = clips.arrays["parts"]
        train, validation, test = (np.flatnonzero(parts == part) for part in range(3))
        return train, validation, test


@dataclass(frozen=True)
class RandomTenth:
    """S4Torch's: the rest and a tenth that is validation and test. Of files by path, as torchaudio lists them."""

    selects_on_test: ClassVar[bool] = True

    def rows(self, clips: Prepared) -> Rows:
        count = len(clips.arrays["labels"])
        order = torch_permutation(count, _S4TORCH_SEED)
        kept = count - int(count * _S4TORCH_FRACTION)
        held = np.sort(order[kept:])
        return np.sort(order[:kept]), held, held


@dataclass(frozen=True)
class Samples:
    """Values become sample / divisor; standardised: then (value - mean) / std of each step, over the training clips."""

    divisor: float
    standardised: bool = False


ClipProtocol = Protocol[ClipSplit, Samples]


def assembled(description: Description, splits: Sequence[Split]) -> Dataset:
    """The data set of train, validation and test, with their counts."""
    train, validation, test = splits
    counts = {"train": len(train.targets), "validation": len(validation.targets), "test": len(test.targets)}
    return Dataset(replace(description, counts=counts), train, validation, test)
