"""Which sequences go to validation and to test: index arrays only, no data.

Parts and Cut are the two ways of a set that is published in parts, which follow one another in its arrays: `published`
maps their names to numbers of sequences, in that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from settings.errors import SettingError
from settings.rules import check_number, required

TENTH = 0.1  # of train is for validation, in every published split and in conf/dataset/
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # of train, validation and test
# Sets the random numbers of the validation cut apart from those of the batch order under the same seed.
_VALIDATION_STREAM = 1


@dataclass(frozen=True)
class Parts:
    """Train and test as published; `validation` is the part of that name: "test" where the best epoch is chosen on it.

    A fraction and a seed, which a Cut needs, have no effect.
    """

    validation: str = "validation"
    fixed: ClassVar[bool] = True

    @property
    def selects_on_test(self) -> bool:
        return self.validation == "test"

    @property
    def names(self) -> tuple[str, str, str]:
        """The published parts that are train, validation and test."""
        return "train", self.validation, "test"

    def counts(self, published: Mapping[str, int], fraction: float | None = None) -> dict[str, int]:
        """Of the sequences in train, validation and test."""
        return {"train": published["train"], "validation": published[self.validation], "test": published["test"]}

    def rows(self, published: Mapping[str, int], fraction: float | None = None, seed: int = 0) -> Rows:
        """Each ascending."""
        own = _consecutive(published)
        return own["train"], own[self.validation], own["test"]


@dataclass(frozen=True)
class Cut:
    """Test as published; validation is cut from the published train part, with the run's seed, or by torch's
    random_split with a seed that does not depend on it.
    """

    torch_seed: int | None = None
    selects_on_test: ClassVar[bool] = False

    @property
    def fixed(self) -> bool:
        """Whether the run's settings decide nothing."""
        return self.torch_seed is not None

    def counts(self, published: Mapping[str, int], fraction: float) -> dict[str, int]:
        """Of the sequences in train, validation and test; ValueError where one would have none."""
        cut = validation_count(published["train"], fraction)
        return {"train": published["train"] - cut, "validation": cut, "test": published["test"]}

    def rows(self, published: Mapping[str, int], fraction: float, seed: int) -> Rows:
        """Ascending, but torch's train and validation in the order in which it draws them."""
        count, test = published["train"], _consecutive(published)["test"]
        if self.torch_seed is None:
            return *cut_validation(count, fraction, seed), test
        return *torch_random_split(count, fraction, self.torch_seed), test


def _consecutive(published: Mapping[str, int]) -> dict[str, np.ndarray]:
    ends = np.cumsum(list(published.values()))
    return {part: np.arange(end - published[part], end) for part, end in zip(published, ends, strict=True)}


def validation_count(count: int, fraction: float) -> int:
    """How many of `count` training sequences are cut off; both parts must keep at least one."""
    cut = round(count * fraction)
    if not 0 < cut < count:
        raise ValueError(
            f"validation_fraction={fraction!r} of {count} training sequences leaves {count - cut} for train "
            f"and {cut} for validation; both need at least one: choose a fraction nearer to 0.1"
        )
    return cut


def cut_validation(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeded random cut of range(count): (train, validation) indices, int64, each ascending."""
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative; choose 0 or more")
    cut = validation_count(count, fraction)
    stream = np.random.SeedSequence(seed, spawn_key=(_VALIDATION_STREAM,))
    order = np.random.default_rng(stream).permutation(count)
    return np.sort(order[cut:]), np.sort(order[:cut])


def torch_permutation(count: int, seed: int) -> np.ndarray:
    """torch.randperm(count, generator=torch.Generator().manual_seed(seed)) on a CPU, int64, without torch.

    Published splits are drawn with it. Fisher-Yates from the front, on 32-bit draws of the Mersenne Twister; NumPy's
    RandomState has the same stream, and it is frozen (NEP 19).
    """
    draws = np.random.RandomState(seed).randint(0, 1 << 32, max(0, count - 1), dtype=np.uint32).astype(np.int64)
    order = list(range(count))
    for index, draw in enumerate(draws % np.arange(count, 1, -1)):
        other = index + int(draw)
        order[index], order[other] = order[other], order[index]
    return np.array(order, np.int64)


def torch_random_split(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The official S4 repository's (train, validation) cut: int(count * (1 - fraction)) of torch_permutation first."""
    order = torch_permutation(count, seed)
    kept = int(count * (1.0 - fraction))
    return order[:kept], order[kept:]


def stratified_test(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A fixed test part with `fraction` of every class: (rest, test) indices, int64, each ascending.

    RandomState, because its stream is frozen (NEP 19): the test part stays the same under every NumPy.
    """
    random = np.random.RandomState(seed)
    parts = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        parts.append(random.permutation(members)[: round(len(members) * fraction)])
    test = np.sort(np.concatenate(parts))
    return np.setdiff1d(np.arange(len(labels)), test), test


def validation_fraction(settings: Mapping[str, Any], fixed_by: str | None = None) -> float:
    """The setting of that name: the part of train that is cut off for validation, strictly between 0 and 1.

    fixed_by: the protocol whose split is its own, if it is; no fraction but the published one can then be given.
    """
    value = required("dataset", settings, "validation_fraction")
    check_number("dataset.validation_fraction", value, 0.0, 1.0, open_low=True, open_high=True)
    if fixed_by is not None and value != TENTH:
        rule = f"has no effect under protocol={fixed_by}, whose parts are its own"
        fix = f"leave it at {TENTH}, or choose protocol=default."
        raise SettingError("dataset.validation_fraction", value, rule, fix)
    return float(value)
