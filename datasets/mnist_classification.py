"""mnist-classification: smnist with the values of annotated (srush/annotated-s4), which gave it this name: [-1, 1].

Validation is cut from the published train part with the run's seed. protocol=annotated is annotated's own: no
validation part, the best epoch chosen on the test part.
"""

from __future__ import annotations

from datasets.files import mnist
from datasets.parts.images import ImageProtocol, ImageSet, Pixels
from datasets.parts.splits import Cut, Parts

NAME = "mnist-classification"  # the registry's, as no module can have it
_VALUES = Pixels(mean=(0.5,), std=(0.5,))
PROTOCOLS = (
    ImageProtocol("default", Cut(), _VALUES),
    ImageProtocol("annotated", Parts(validation="test"), _VALUES),
)
SET = ImageSet(NAME, mnist.IMAGES, PROTOCOLS)
describe, prepare, load = SET.describe, SET.prepare, SET.load
