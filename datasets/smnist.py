"""Sequential MNIST: the rows of an image one after another, 784 steps of one value.

Values lie in [0, 1], and validation is cut from the published train part with the run's seed. Protocols:

- official, s5 (state-spaces/s4, lindermanlab/S5): the same values, validation by torch's random_split with seed 42;
- s4torch (TariqAHassan/S4Torch): the same values, random_split with seed 1234. It reports validation accuracy and never
  uses the published test part; here that part is the test part as ever;
- annotated (srush/annotated-s4): values in [-1, 1], no validation part, the best epoch chosen on the test part.
"""

from __future__ import annotations

from datasets.files import mnist
from datasets.parts.images import ImageProtocol, ImageSet, Pixels
from datasets.parts.splits import Cut, Parts

PROTOCOLS = (
    ImageProtocol("default", Cut(), Pixels()),
    ImageProtocol("official", Cut(torch_seed=42), Pixels()),
    ImageProtocol("s5", Cut(torch_seed=42), Pixels()),
    ImageProtocol("s4torch", Cut(torch_seed=1234), Pixels()),
    ImageProtocol("annotated", Parts(validation="test"), Pixels(mean=(0.5,), std=(0.5,))),
)
SET = ImageSet("smnist", mnist.IMAGES, PROTOCOLS)
describe, prepare, load = SET.describe, SET.prepare, SET.load
