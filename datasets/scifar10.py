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
from typing import Any

from datasets.files import cifar
from datasets.parts.images import ImageProtocol, ImageSet, Pixels
from datasets.parts.splits import Cut, Parts

_MEAN = (0.4914, 0.4822, 0.4465)
_OFFICIAL = Pixels(_MEAN, (0.247, 0.243, 0.261))  # of all values of train, cut to three digits: .2470 .2435 .2616
_ANNOTATED = Pixels(_MEAN, (0.2023, 0.1994, 0.2010))  # an image's own deviation (torch.std), its mean over train
PROTOCOLS = (
    ImageProtocol("default", Cut(), _OFFICIAL),
    ImageProtocol("official", Cut(torch_seed=42), _OFFICIAL),
    ImageProtocol("s5", Cut(torch_seed=42), _OFFICIAL),
    ImageProtocol("s4torch", Cut(torch_seed=1234), Pixels()),
    ImageProtocol("annotated", Parts(validation="test"), _ANNOTATED),
)
SET = ImageSet("scifar10", cifar.COLOURS, PROTOCOLS)
describe, prepare, load = SET.describe, SET.prepare, SET.load


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order of their numbers."""
    return cifar.CLASSES
