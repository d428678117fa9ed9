"""Permuted sequential MNIST: smnist's values in [0, 1] with its 784 steps in one fixed order.

The order is random42, or the one that `permutation` names. A published protocol has the order and the split of its
source: bit reversal and torch's random_split with seed 42 in official and s5, random42 and seed 1234 in s4torch.
"""

from __future__ import annotations

from datasets.files import mnist
from datasets.parts.images import ImageProtocol, ImageSet, Pixels
from datasets.parts.permutations import PERMUTATIONS
from datasets.parts.splits import Cut

PROTOCOLS = (
    ImageProtocol("default", Cut(), Pixels(order="random42")),
    ImageProtocol("official", Cut(torch_seed=42), Pixels(order="bit_reversal")),
    ImageProtocol("s5", Cut(torch_seed=42), Pixels(order="bit_reversal")),
    ImageProtocol("s4torch", Cut(torch_seed=1234), Pixels(order="random42")),
)
SET = ImageSet("pmnist", mnist.IMAGES, PROTOCOLS, orders=PERMUTATIONS)
describe, prepare, load = SET.describe, SET.prepare, SET.load
