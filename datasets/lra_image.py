"""The Long Range Arena's image task: CIFAR-10 in grey, the rows of an image one after another, 1,024 steps.

Values are normalised as the official S4 repository has it, and validation is cut from the published train part with the
run's seed. The protocols official (state-spaces/s4) and s5 (lindermanlab/S5) have the same values, and validation by
torch's random_split with seed 42. Nobody's recipe for this task shifts or flips an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.data import Dataset, Description
from datasets.files import cifar
from datasets.parts import images
from datasets.parts.images import Protocol

_MEAN, _STD = (122.6 / 255.0,), (61.0 / 255.0,)
PROTOCOLS = {
    "default": Protocol(_MEAN, _STD),
    "official": Protocol(_MEAN, _STD, split_seed=42),
    "s5": Protocol(_MEAN, _STD, split_seed=42),
}


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    return images.describe("lra_image", settings, cifar.GREY_SIZES, PROTOCOLS)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order of their numbers."""
    return cifar.CLASSES


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch CIFAR-10, check it and prepare its greys; DataError if that fails."""
    description = describe(settings)
    cifar.prepared(data_dir, grey=True)
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 1024, 1)."""
    description = describe(settings)
    return images.dataset(description, settings, PROTOCOLS, cifar.prepared(data_dir, grey=True), seed)
