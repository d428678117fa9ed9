"""What every test shares: JAX in float64 on the CPU, and where the reference values lie."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_X64", "1")  # arrays name their precision; without this float64 would be cut silently

import numpy as np
import pytest

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture
def golden():
    """Loader of a reference file: golden("s5") -> arrays by name; skips where the files are not at hand."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = SHARED / "golden" / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"the reference values are not here ({path.name})")
        with np.load(path) as file:
            return {key: file[key] for key in file.files}

    return load
