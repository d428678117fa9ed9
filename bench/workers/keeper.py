"""When a training's checkpoints are due, where they lie, and how a training goes on from one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.store import checkpoints
from bench.store.checkpoints import Checkpoint
from settings.checkpoint import BEST


@dataclass
class Keeper:
    """place: the folder of this training's checkpoints. seconds: between two, about. keep: how many stay. about: what
    else their headers say (the run's id, the network), as JSON holds it. now: seconds, monotonic.
    """

    place: Path
    seconds: float
    keep: int
    about: Mapping[str, Any] = field(default_factory=dict)
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._last = self.now()

    def due(self) -> bool:
        """A look at the clock, and no more."""
        return self.now() - self._last >= self.seconds

    def save(
        self,
        step: int,
        snapshot: Mapping[str, np.ndarray],
        best: Mapping[str, np.ndarray] | None,
        state: Mapping[str, Any],
    ) -> None:
        """RecordError where it cannot be written."""
        arrays = {**snapshot, **{BEST + name: value for name, value in (best or {}).items()}}
        finished = bool(state["finished"])
        checkpoints.write(self.place, step, arrays, {**self.about, **state}, 1 if finished else self.keep)
        self._last = self.now()


def split(found: Checkpoint) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    """A checkpoint's snapshot, and its best weights where there are any."""
    best = {name.removeprefix(BEST): value for name, value in found.arrays.items() if name.startswith(BEST)}
    snapshot = {name: value for name, value in found.arrays.items() if not name.startswith(BEST)}
    return snapshot, best or None
