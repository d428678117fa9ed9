"""Each step's target is the token before it: made here, the same for every run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import Dataset, Description, Split
from settings.problem import LOSS, NO_TARGET, Problem
from settings.rules import check_known

SYMBOLS = 8
COUNTS = {"train": 512, "validation": 64, "test": 64}


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone."""
    check_known("dataset", settings, {"length"})
    problem = Problem(settings["length"], SYMBOLS, vocabulary=SYMBOLS, per_step=True, selects=LOSS)
    return Description("delay", problem, COUNTS, generated=True)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Nothing to fetch."""
    return describe(settings)


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, tokens int32 (M, L) and targets int32 (M, L); the first step has none."""
    description = describe(settings)
    tokens = np.random.default_rng(8).integers(0, SYMBOLS, (sum(COUNTS.values()), description.problem.length), np.int32)
    targets = np.concatenate([np.full_like(tokens[:, :1], NO_TARGET), tokens[:, :-1]], 1)
    ends = np.cumsum(list(COUNTS.values()))[:-1]
    parts = zip(np.split(tokens, ends), np.split(targets, ends), strict=True)
    return Dataset(description, *(Split(inputs, own) for inputs, own in parts))
