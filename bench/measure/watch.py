"""Whether timed calls computed anything: a network that became NaN runs as fast as ever, and measures nothing.

Handles are kept while the clock runs and looked at between rounds, when it does not. The weights change in the train
step only: there each step's loss is looked at, elsewhere the logits of the last calls.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from bench.framework import Diverged, Handle, Trainer


class Watch:
    """The handles of one phase's calls. last: how many calls' logits are looked at; of a train step, all losses are."""

    def __init__(self, trainer: Trainer, phase: str, last: int) -> None:
        self.trainer, self.phase = trainer, phase
        self.trains = phase == "train_step"
        self.count = 0  # of calls so far
        self.handles: deque[Handle] = deque(maxlen=None if self.trains else last)

    def keep(self, handle: Handle) -> None:
        """Remembers what a call gave; nothing is waited for."""
        self.count += 1
        self.handles.append(handle)

    def look(self) -> None:
        """Reads what was kept since the last look. Diverged, with the step, where it is not finite."""
        first = self.count - len(self.handles) + 1
        kept = list(self.handles)
        self.handles.clear()
        if self.trains:
            for step, (loss, _) in enumerate(self.trainer.read_all(kept), start=first):
                if not math.isfinite(loss):
                    self._diverged(f"loss is {loss}", step)
            return
        for step, handle in enumerate(kept, start=first):
            if not np.isfinite(self.trainer.read_logits(handle)).all():
                self._diverged("logits are not finite", step)

    def _diverged(self, what: str, step: int) -> None:
        raise Diverged(
            f"{self.phase}: {what} at step {step}: the network diverged, and its time measures nothing; lower "
            "task.optimiser.rate, or set task.clip_norm"
        )
