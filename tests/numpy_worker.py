"""`run.py --worker` with the NumPy framework in the place of a real one: it starts in a second.

An argument names a trainer of this file.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy_framework import NumpyAdapter, NumpyTrainer, SlowTrainer

from bench.workers.worker import start


class Careless(NumpyTrainer):
    """Its first step imports the other framework, which no look before the task can see."""

    def train_step(self, batch: Any, scale: float) -> Any:
        sys.modules["stranger"] = types.ModuleType("stranger")
        return super().train_step(batch, scale)


class Talkative(NumpyTrainer):
    """Prints where a library might: to what was standard output, from Python and from below."""

    def train_step(self, batch: Any, scale: float) -> Any:
        print("noise")
        os.write(1, b'{"@": "Result", "number": 1}\n')
        return super().train_step(batch, scale)


class Endless(SlowTrainer):
    """Its steps take a while, so that it can be met while it trains."""


class Twenty(SlowTrainer):
    """A step takes 20 ms."""

    seconds = 0.02


class Sleeping(SlowTrainer):
    """A step takes 5 ms, whoever else runs."""

    seconds = 0.005


class Deadly(NumpyTrainer):
    """Its third step is its process's last; how, the variable DEATH says: a signal's number."""

    def train_step(self, batch: Any, scale: float) -> Any:
        if len(self.scales) == 2:
            os.kill(os.getpid(), int(os.environ["DEATH"]))
        return super().train_step(batch, scale)


class Greedy(NumpyTrainer):
    """Its third step needs more memory than there is."""

    def train_step(self, batch: Any, scale: float) -> Any:
        if len(self.scales) == 2:
            np.ones(2**50)
        return super().train_step(batch, scale)


TRAINERS = {
    trainer.__name__: trainer
    for trainer in (NumpyTrainer, Careless, Talkative, Endless, Twenty, Sleeping, Deadly, Greedy)
}


def adapter(hardware: str, **settings: Any) -> NumpyAdapter:
    if hardware == "gpu":
        raise ValueError("hardware=gpu: NumPy sees none; choose hardware=cpu")
    return NumpyAdapter(TRAINERS[sys.argv[1] if len(sys.argv) > 1 else "NumpyTrainer"])


if __name__ == "__main__":
    sys.exit(start(lambda framework: adapter))
