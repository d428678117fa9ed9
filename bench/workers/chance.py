"""Is a training at chance? A network that has learnt nothing ends with status ok, and looks like any other.

A constant's loss on the training targets (their entropy) and its accuracy (the share of the commonest) are the
measure; the loss of a network that has learnt anything lies below it. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from settings.problem import NO_TARGET

CLOSE = 0.98  # of the constant's loss: what is above counts as chance
LOOK_AFTER, LOOK_OVER = 1000, 500  # steps: when within a long epoch it is looked, and over how many losses
DEVIATIONS = 3.0  # of an accuracy by chance
ADVICE = "lower task.optimiser.rate (or ssm_rate), or give a schedule with warm-up"


@dataclass(frozen=True)
class Chance:
    """Of a constant answer. loss: in nats, the targets' entropy. accuracy: the share of the commonest class."""

    loss: float
    accuracy: float


def of_targets(targets: np.ndarray, classes: int) -> Chance:
    """targets: (M,), or (M, L) one a step, where NO_TARGET counts for nothing."""
    counts = np.bincount(targets[targets != NO_TARGET].ravel(), minlength=classes)
    shares = counts[counts > 0] / max(1, counts.sum())
    return Chance(float(-(shares * np.log(shares)).sum()), float(shares.max(initial=0.0)))


def at_epoch_end(chance: Chance, loss: float, accuracy: float, count: int) -> str | None:
    """What to say where validation, of `count` sequences, is at chance; None where the network has learnt something."""
    by_chance = chance.accuracy + DEVIATIONS * math.sqrt(chance.accuracy * (1 - chance.accuracy) / max(1, count))
    if chance.loss == 0 or loss < CLOSE * chance.loss or accuracy > by_chance:
        return None
    return (
        f"validation is at chance: accuracy {accuracy:.1%} and loss {loss:.3f}, where a constant answer has "
        f"{chance.accuracy:.1%} and {chance.loss:.3f}; {ADVICE}"
    )


def within_epoch(chance: Chance, losses: Sequence[float]) -> str | None:
    """The same of a training's losses so far, looked at after every LOOK_AFTER steps."""
    if not losses or len(losses) % LOOK_AFTER or chance.loss == 0:
        return None
    mean = float(np.mean(losses[-LOOK_OVER:]))
    if mean < CLOSE * chance.loss:
        return None
    return (
        f"the loss is at chance: {mean:.3f} on average over steps {len(losses) - LOOK_OVER + 1:,} to {len(losses):,}, "
        f"where a constant answer has {chance.loss:.3f}; {ADVICE}"
    )
