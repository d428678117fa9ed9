"""Random numbers of a seed."""

from __future__ import annotations

import numpy as np

from settings.rules import check_seed, python_scalar


def generator(seed: int) -> np.random.Generator:
    """NumPy's default generator of a seed. SettingError for what is no seed."""
    seed = python_scalar(seed)
    check_seed("seed", seed)
    return np.random.default_rng(seed)
