"""mnist-classification: smnist with the values of annotated (srush/annotated-s4), which gave it this name: [-1, 1].

Validation is cut from the published train part with the run's seed. protocol=annotated is annotated's own: no
validation part, the best epoch chosen on the test part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.data import Dataset, Description
from datasets.files import mnist
from datasets.parts import images
from datasets.parts.images import Protocol
from datasets.smnist import PROTOCOLS as SMNIST_PROTOCOLS

NAME = "mnist-classification"  # the registry's, as no module can have it
_ANNOTATED = SMNIST_PROTOCOLS["annotated"]
PROTOCOLS = {"default": Protocol(_ANNOTATED.mean, _ANNOTATED.std), "annotated": _ANNOTATED}


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    return images.describe(NAME, settings, mnist.SIZES, PROTOCOLS)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch the four MNIST files, check and prepare them; DataError if that fails."""
    description = describe(settings)
    mnist.prepared(data_dir)
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 784, 1) in [-1, 1]."""
    description = describe(settings)
    return images.dataset(description, settings, PROTOCOLS, mnist.prepared(data_dir), seed)
