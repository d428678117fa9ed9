"""Permuted sequential MNIST: smnist's values in [0, 1] with its 784 steps in one fixed order.

The order is random42, or the one that `permutation` names. A published protocol has the order and the split of its
source: bit reversal and torch's random_split with seed 42 in official and s5, random42 and seed 1234 in s4torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.data import Dataset, Description
from datasets.files import mnist
from datasets.parts import images
from datasets.parts.permutations import PERMUTATIONS
from datasets.settings import choice, required
from datasets.smnist import PROTOCOLS as SMNIST_PROTOCOLS

PROTOCOLS = {name: SMNIST_PROTOCOLS[name] for name in ("default", "official", "s5", "s4torch")}
_ORDERS = {"default": "random42", "official": "bit_reversal", "s5": "bit_reversal", "s4torch": "random42"}


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    description = images.describe("pmnist", settings, mnist.SIZES, PROTOCOLS, "permutation")
    _permutation(settings, description.protocol)
    return description


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch the four MNIST files, check and prepare them; DataError if that fails."""
    description = describe(settings)
    mnist.prepared(data_dir)
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 784, 1)."""
    description = describe(settings)
    order = PERMUTATIONS[_permutation(settings, description.protocol)](mnist.PIXELS)
    return images.dataset(description, settings, PROTOCOLS, mnist.prepared(data_dir), seed, order)


def _permutation(settings: Mapping[str, Any], protocol: str) -> str:
    """The order's name; a published protocol takes no other than its own."""
    own = _ORDERS[protocol]
    if required("pmnist", settings, "permutation") is None:
        return own
    given = choice("pmnist", settings, "permutation", PERMUTATIONS)
    if protocol != "default" and given != own:
        raise ValueError(
            f"dataset pmnist: permutation={given!r} contradicts protocol={protocol}, which has {own}; leave it null, "
            "or choose protocol=default"
        )
    return given
