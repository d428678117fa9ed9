"""Sequential MNIST: the rows of an image one after another, 784 steps of one value.

Values lie in [0, 1], and validation is cut from the published train part with the run's seed. Protocols:

- official, s5 (state-spaces/s4, lindermanlab/S5): the same values, validation by torch's random_split with seed 42;
- s4torch (TariqAHassan/S4Torch): the same values, random_split with seed 1234. It reports validation accuracy and never
  uses the published test part; here that part is the test part as ever;
- annotated (srush/annotated-s4): values in [-1, 1], no validation part, the best epoch chosen on the test part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.data import Dataset, Description
from datasets.files import mnist
from datasets.parts import images
from datasets.parts.images import Protocol

PROTOCOLS = {
    "default": Protocol(),
    "official": Protocol(split_seed=42),
    "s5": Protocol(split_seed=42),
    "s4torch": Protocol(split_seed=1234),
    "annotated": Protocol(mean=(0.5,), std=(0.5,), selects_on_test=True),
}


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    return images.describe("smnist", settings, mnist.SIZES, PROTOCOLS)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch the four MNIST files, check and prepare them; DataError if that fails."""
    description = describe(settings)
    mnist.prepared(data_dir)
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 784, 1)."""
    description = describe(settings)
    return images.dataset(description, settings, PROTOCOLS, mnist.prepared(data_dir), seed)
