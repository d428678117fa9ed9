"""scikit-learn's 1,797 real handwritten digits, 8x8 pixels read as 64 steps; embedded, no network.

Values 0..16 become [0, 1]. The data has no published test part: a fifth of every class is set apart by a
constant seed, the same in every run; validation is cut from the rest with the run's seed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import DataError, Dataset, Description, Split
from datasets.parts.splits import cut_validation, stratified_test, validation_count, validation_fraction
from settings.problem import Problem
from settings.rules import check_known

_TEST_FRACTION = 0.2
_TEST_SEED = 1797
_TRAIN_COUNT, _TEST_COUNT = 1438, 359  # a fifth of each class, rounded class by class


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    check_known("dataset", settings, {"validation_fraction"})
    cut = validation_count(_TRAIN_COUNT, validation_fraction(settings))
    counts = {"train": _TRAIN_COUNT - cut, "validation": cut, "test": _TEST_COUNT}
    return Description("digits", Problem(length=64, classes=10, channels=1), counts)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Nothing to fetch: the data comes with scikit-learn. DataError where it does not."""
    description = describe(settings)
    _file()
    return description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 64, 1) in [0, 1]."""
    description = describe(settings)
    table = np.loadtxt(_file(), delimiter=",", dtype=np.int64)  # 64 pixels, then the class
    labels = table[:, -1]
    inputs = (table[:, :-1] / 16.0).astype(np.float32)[:, :, None]
    targets = labels.astype(np.int32)
    rest, test = stratified_test(labels, _TEST_FRACTION, _TEST_SEED)
    train, validation = cut_validation(len(rest), validation_fraction(settings), seed)
    parts = (rest[train], rest[validation], test)
    return Dataset(description, *(Split(inputs[part], targets[part]) for part in parts))


def _file() -> Path:
    """scikit-learn's file itself: importing the package, as its load_digits asks, takes a second of every run."""
    found = importlib.util.find_spec("sklearn")
    folders = [] if found is None else [Path(folder) for folder in found.submodule_search_locations or ()]
    for folder in folders:
        path = folder / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path
    raise DataError(
        "dataset=digits: scikit-learn's digits.csv.gz is not there; install what this project was tested with "
        "(pip install -c constraints.txt scikit-learn)."
    )
