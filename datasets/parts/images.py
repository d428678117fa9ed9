"""Images read pixel by pixel, as a value that the MNIST and the CIFAR-10 sets differ in. It reads no file itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.files.images import Images
from datasets.parts.protocols import Protocol, chosen
from datasets.parts.splits import Cut, Parts, validation_fraction
from datasets.store.stored import Stored
from settings.errors import SettingError
from settings.problem import Problem
from settings.rules import check_known, chosen_of, required


@dataclass(frozen=True)
class Pixels:
    """Values become (value / 255 - mean) / std, with one number or one a channel. order: the name of the order in which
    the pixels are shown; None: row by row.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str | None = None

    def of(self, pixels: np.ndarray, rows: np.ndarray, order: np.ndarray | None = None) -> Stored:
        """Of pixels uint8 (N, L, C) the rows (M,), as the network sees them; step t shows pixel order[t] (L,)."""
        return Stored(pixels, rows, 255.0, self.mean, self.std, order)


ImageProtocol = Protocol[Cut | Parts, Pixels]


@dataclass(frozen=True)
class ImageSet:
    """A data set of images: a catalogue entry whose describe, prepare and load are this value's.

    images: the published ones. orders: by name, the orders of L pixels that the setting `permutation` may choose; a set
    without any has no such setting.
    """

    name: str
    images: Images
    protocols: Sequence[ImageProtocol]
    orders: Mapping[str, Callable[[int], np.ndarray]] = field(default_factory=dict)

    def describe(self, settings: Mapping[str, Any]) -> Description:
        """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
        check_known("dataset", settings, {"protocol", "validation_fraction"} | self._further)
        protocol = chosen(settings, self.protocols)
        fraction = validation_fraction(settings, protocol.name if protocol.split.fixed else None)
        counts = protocol.split.counts(self.images.published, fraction)
        self._order(settings, protocol)
        return Description(
            self.name,
            Problem(self.images.pixels, self.images.classes, channels=self.images.channels),
            counts,
            protocol=protocol.name,
            selects_on_test=protocol.selects_on_test,
        )

    def prepare(self, settings: Mapping[str, Any], data_dir: Path) -> Description:
        """Find or fetch the images, check and prepare them; DataError if that fails."""
        description = self.describe(settings)
        self.images.prepared(data_dir)
        return description

    def load(self, settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
        """The three parts, inputs float32 (M, L, C)."""
        description = self.describe(settings)
        protocol = chosen(settings, self.protocols)
        arrays = self.images.prepared(data_dir).arrays
        name = self._order(settings, protocol)
        order = None if name is None else self.orders[name](self.images.pixels)
        fraction = validation_fraction(settings)
        parts = (
            Split(protocol.values.of(arrays["pixels"], rows, order), arrays["labels"][rows].astype(np.int32))
            for rows in protocol.split.rows(self.images.published, fraction, seed)
        )
        return Dataset(description, *parts)

    @property
    def _further(self) -> set[str]:
        return {"permutation"} if self.orders else set()

    def _order(self, settings: Mapping[str, Any], protocol: ImageProtocol) -> str | None:
        """The order's name; a published protocol takes no other than its own."""
        own = protocol.values.order
        if not self.orders or required("dataset", settings, "permutation") is None:
            return own
        given = chosen_of("dataset", settings, "permutation", self.orders)
        if protocol.name != "default" and given != own:
            rule = f"contradicts protocol={protocol.name}, which has {own}"
            raise SettingError("dataset.permutation", given, rule, "leave it null, or choose protocol=default.")
        return given
