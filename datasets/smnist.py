"""Sequential MNIST: the rows of an image one after another, 784 steps of one value in [0, 1], not normalised.

Validation is cut from the published train part with the run's seed; test is the published test part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets import mnist_files
from datasets.data import Dataset, Description, Split
from datasets.settings import refuse_unknown, validation_fraction
from datasets.splits import cut_validation, validation_count


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    refuse_unknown("smnist", settings, {"validation_fraction"})
    return pixel_description("smnist", validation_fraction("smnist", settings))


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch the four MNIST files and check them; DataError if that fails."""
    description = describe(settings)
    mnist_files.read(data_dir)
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 784, 1) in [0, 1]."""
    description = describe(settings)
    return pixel_dataset(
        description, data_dir, np.arange(mnist_files.PIXELS), validation_fraction("smnist", settings), seed
    )


def pixel_description(name: str, fraction: float) -> Description:
    """MNIST as 784 steps of one channel, under the data set's `name`."""
    cut = validation_count(mnist_files.TRAIN_COUNT, fraction)
    counts = {"train": mnist_files.TRAIN_COUNT - cut, "validation": cut, "test": mnist_files.TEST_COUNT}
    return Description(name, mnist_files.PIXELS, 1, mnist_files.CLASSES, vocabulary=None, counts=counts)


def pixel_dataset(description: Description, data_dir: Path, order: np.ndarray, fraction: float, seed: int) -> Dataset:
    """MNIST with its pixels in `order` (784,): step t shows pixel order[t]."""
    arrays = mnist_files.read(data_dir)
    train, validation = cut_validation(mnist_files.TRAIN_COUNT, fraction, seed)
    return Dataset(
        description,
        _split(arrays.train_pixels[train], arrays.train_labels[train], order),
        _split(arrays.train_pixels[validation], arrays.train_labels[validation], order),
        _split(arrays.test_pixels, arrays.test_labels, order),
    )


def _split(pixels: np.ndarray, labels: np.ndarray, order: np.ndarray) -> Split:
    # take, because pixels[:, order] would leave the array in column order
    inputs = np.take(pixels, order, axis=1).astype(np.float32)
    inputs /= np.float32(255.0)
    return Split(inputs[:, :, None], labels.astype(np.int32))
