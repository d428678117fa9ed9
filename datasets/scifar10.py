"""CIFAR-10 in colour: the rows of an image one after another, 1,024 steps of red, green and blue.

Values are normalised by channel as the official S4 repository has it, and validation is cut from the published train
part with the run's seed. Protocols, none of which shifts or flips an image:

- official, s5 (state-spaces/s4, lindermanlab/S5): the same values, validation by torch's random_split with seed 42;
- s4torch (TariqAHassan/S4Torch): values in [0, 1], random_split with seed 1234. It reports validation accuracy and
  never uses the published test part; here that part is the test part as ever;
- annotated (srush/annotated-s4): smaller deviations, no validation part, the best epoch chosen on the test part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.data import Dataset, Description
from datasets.files import cifar
from datasets.parts import images
from datasets.parts.images import Protocol

_MEAN = (0.4914, 0.4822, 0.4465)
_OFFICIAL_STD = (0.247, 0.243, 0.261)  # of all values of train, cut to three digits: .2470 .2435 .2616
_ANNOTATED_STD = (0.2023, 0.1994, 0.2010)  # an image's own deviation (torch.std), its mean over train
PROTOCOLS = {
    "default": Protocol(_MEAN, _OFFICIAL_STD),
    "official": Protocol(_MEAN, _OFFICIAL_STD, split_seed=42),
    "s5": Protocol(_MEAN, _OFFICIAL_STD, split_seed=42),
    "s4torch": Protocol(split_seed=1234),
    "annotated": Protocol(_MEAN, _ANNOTATED_STD, selects_on_test=True),
}


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    return images.describe("scifar10", settings, cifar.SIZES, PROTOCOLS)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order of their numbers."""
    return cifar.CLASSES


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch CIFAR-10, check and prepare it; DataError if that fails."""
    description = describe(settings)
    cifar.prepared(data_dir, grey=False)
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 1024, 3)."""
    description = describe(settings)
    return images.dataset(description, settings, PROTOCOLS, cifar.prepared(data_dir, grey=False), seed)
