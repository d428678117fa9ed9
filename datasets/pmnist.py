"""Permuted sequential MNIST: smnist with its 784 steps in one fixed order, chosen by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import mnist_files
from datasets.data import Dataset, Description
from datasets.permutations import PERMUTATIONS
from datasets.settings import choice, refuse_unknown, validation_fraction
from datasets.smnist import pixel_dataset, pixel_description


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    refuse_unknown("pmnist", settings, {"permutation", "validation_fraction"})
    choice("pmnist", settings, "permutation", PERMUTATIONS)
    return pixel_description("pmnist", validation_fraction("pmnist", settings))


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch the four MNIST files and check them; DataError if that fails."""
    description = describe(settings)
    mnist_files.read(data_dir)
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 784, 1) in [0, 1]."""
    description = describe(settings)
    order = PERMUTATIONS[choice("pmnist", settings, "permutation", PERMUTATIONS)](mnist_files.PIXELS)
    return pixel_dataset(description, data_dir, order, validation_fraction("pmnist", settings), seed)
