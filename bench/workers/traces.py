"""What a network computes and what it holds, as .npz files: a trace for comparing, and the state for handing on.

A trace holds the outputs of encoder and blocks, logits, loss, the gradient of every parameter, and the parameters after
the first and after the last optimiser step. Two of them are compared by bench/measure/agreement.py. The state holds
parameters and batch norm's statistics; not the optimiser's moments, which each framework keeps in its own way.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np

from bench.framework import Batch, Diverged, Trainer

Path = str | os.PathLike[str]


def write_trace(trainer: Trainer, batches: Sequence[Batch], path: Path) -> None:
    """Traces the first batch, takes a step with each and writes everything to `path`.

    trainer: built with dropout 0, whose random numbers differ between frameworks. Raises Diverged, with the step, where
    a loss is not finite: two networks that are NaN do not agree, they say nothing.
    """
    assert batches, "a trace compares parameters after steps"
    tensors = dict(trainer.trace(batches[0]))
    for step, batch in enumerate(batches, start=1):
        loss, _ = trainer.read(trainer.train_step(batch, 1.0))
        if not math.isfinite(loss):
            raise Diverged(
                f"loss is {loss} at step {step} of {len(batches)}: training diverged; lower task.optimiser.rate, or "
                "set task.clip_norm"
            )
        if step == 1:
            tensors |= {f"parameters_1.{name}": value for name, value in trainer.state().items()}
    tensors |= {f"parameters_10.{name}": value for name, value in trainer.state().items()}
    _write(tensors, path)


def write_state(trainer: Trainer, path: Path) -> None:
    """Parameters and statistics by flat dotted name."""
    _write(trainer.state(), path)


def read_state(trainer: Trainer, path: Path) -> None:
    """Puts back what write_state wrote, here or in another framework. ValueError where names or shapes differ."""
    with np.load(path) as file:
        found = dict(file)
    own = trainer.state()
    if own.keys() != found.keys():
        raise ValueError(f"state: names {sorted(own.keys() ^ found.keys())} are on one side only")
    for name, value in own.items():
        if value.shape != found[name].shape:
            raise ValueError(f"state: {name} has shape {found[name].shape} in the file and {value.shape} here")
    trainer.restore({name: value.astype(own[name].dtype) for name, value in found.items()})


def _write(tensors: dict[str, np.ndarray], path: Path) -> None:
    with open(path, "wb") as stream:
        np.savez(stream, allow_pickle=False, **tensors)
