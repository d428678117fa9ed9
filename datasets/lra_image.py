"""The Long Range Arena's image task: CIFAR-10 in grey, the rows of an image one after another, 1,024 steps.

Values are normalised as the official S4 repository has it, and validation is cut from the published train part with the
run's seed. The protocols official (state-spaces/s4) and s5 (lindermanlab/S5) have the same values, and validation by
torch's random_split with seed 42. Nobody's recipe for this task shifts or flips an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets.files import cifar
from datasets.parts.images import ImageProtocol, ImageSet, Pixels
from datasets.parts.splits import Cut

_VALUES = Pixels(mean=(122.6 / 255.0,), std=(61.0 / 255.0,))
PROTOCOLS = (
    ImageProtocol("default", Cut(), _VALUES),
    ImageProtocol("official", Cut(torch_seed=42), _VALUES),
    ImageProtocol("s5", Cut(torch_seed=42), _VALUES),
)
SET = ImageSet("lra_image", cifar.GREYS, PROTOCOLS)
describe, prepare, load = SET.describe, SET.prepare, SET.load


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order of their numbers."""
    return cifar.CLASSES
