"""`run.py --worker` with the NumPy framework in the place of a real one: it starts in a second.

An argument names a trainer of this file.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from numpy_framework import NumpyAdapter, NumpyTrainer

from bench.worker import start


class Careless(NumpyTrainer):
    """Its first step imports the other framework, which no look before the task can see."""

    def train_step(self, batch: Any, scale: float) -> Any:
        sys.modules["stranger"] = types.ModuleType("stranger")
        return super().train_step(batch, scale)


TRAINERS = {trainer.__name__: trainer for trainer in (NumpyTrainer, Careless)}


def adapter(hardware: str, **settings: Any) -> NumpyAdapter:
    if hardware == "gpu":
        raise ValueError("hardware=gpu: NumPy sees none; choose hardware=cpu")
    return NumpyAdapter(TRAINERS[sys.argv[1] if len(sys.argv) > 1 else "NumpyTrainer"])


if __name__ == "__main__":
    sys.exit(start(lambda framework: adapter))
