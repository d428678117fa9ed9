"""Images read pixel by pixel: what the MNIST and the CIFAR-10 sets share. It reads no file.

A set's images lie in one array as their files have them, train before test. A protocol says how their values are scaled
and which rows are train, validation and test; a published one has a split of its own, whatever the run's seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.parts.splits import cut_validation, torch_random_split, validation_count
from datasets.settings import TENTH, choice, refuse_unknown, validation_fraction
from datasets.store.cache import Prepared
from datasets.store.stored import Stored


@dataclass(frozen=True)
class Sizes:
    """What was published: images of the two parts, pixels and channels of an image, classes."""

    train: int
    test: int
    pixels: int
    channels: int
    classes: int


@dataclass(frozen=True)
class Protocol:
    """Values become (value / 255 - mean) / std, with one number or one a channel.

    split_seed: of torch's random_split of train in 90 % and 10 %; None: cut with the run's seed. selects_on_test: there
    is no split; all of train is trained on, and the test part is the validation part too.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    split_seed: int | None = None
    selects_on_test: bool = False


def describe(
    name: str, settings: Mapping[str, Any], sizes: Sizes, protocols: Mapping[str, Protocol], *further: str
) -> Description:
    """The set `name` by its settings protocol and validation_fraction; ValueError if they are senseless, or if there
    are others than these and the `further` ones.
    """
    refuse_unknown(name, settings, {"protocol", "validation_fraction", *further})
    chosen = choice(name, settings, "protocol", protocols)
    protocol = protocols[chosen]
    fixed = protocol.selects_on_test or protocol.split_seed is not None
    cut = validation_count(sizes.train, validation_fraction(name, settings, chosen if fixed else None))
    counts = {"train": sizes.train - cut, "validation": cut, "test": sizes.test}
    if protocol.selects_on_test:
        counts |= {"train": sizes.train, "validation": sizes.test}
    return Description(
        name,
        sizes.pixels,
        sizes.channels,
        sizes.classes,
        vocabulary=None,
        counts=counts,
        protocol=chosen,
        selects_on_test=protocol.selects_on_test,
    )


def dataset(
    description: Description,
    settings: Mapping[str, Any],
    protocols: Mapping[str, Protocol],
    prepared: Prepared,
    seed: int,
    order: np.ndarray | None = None,
) -> Dataset:
    """The three parts of pixels uint8 (N, L, C) and labels uint8 (N,), train before test.

    order (L,): step t shows pixel order[t]; None: row by row.
    """
    protocol = protocols[description.protocol]
    pixels, labels = prepared.arrays["pixels"], prepared.arrays["labels"]
    assert description.counts is not None
    published = len(labels) - description.counts["test"]
    test = np.arange(published, len(labels))
    if protocol.selects_on_test:
        train, validation = np.arange(published), test
    elif protocol.split_seed is not None:
        train, validation = torch_random_split(published, TENTH, protocol.split_seed)
    else:
        train, validation = cut_validation(published, validation_fraction(description.name, settings), seed)
    parts = (
        Split(Stored(pixels, rows, 255.0, protocol.mean, protocol.std, order), labels[rows].astype(np.int32))
        for rows in (train, validation, test)
    )
    return Dataset(description, *parts)
