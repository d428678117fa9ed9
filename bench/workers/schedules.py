"""Learning-rate schedules as pure functions: (step, the validation figure so far) -> the factor of both rates.

The figure is the one that chooses the best epoch (settings/problem.py): accuracies, or losses.

Not here: the rates themselves, and when to stop (bench/workers/training.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from settings.errors import SettingError
from settings.problem import ACCURACY, Figure

Schedule = Callable[[int, Sequence[float]], float]
NAMES = ("constant", "cosine", "one_cycle", "plateau", "steps")
ONE_CYCLE_START = 1 / 25  # optax.cosine_onecycle_schedule's div_factor


def schedule(settings: Mapping[str, Any], steps: int, figure: Figure = ACCURACY) -> Schedule:
    """The schedule named in settings (task.schedule) for `steps` optimiser steps in all. ValueError on
    bad settings.
    """
    name = settings.get("name", "constant")
    warmup, final = float(settings.get("warmup", 0.1)), float(settings.get("final", 0.0))
    factor, patience = float(settings.get("factor", 0.5)), int(settings.get("patience", 2))
    if name not in NAMES:
        raise SettingError("task.schedule.name", name, "unknown", f"choose one of {', '.join(NAMES)}")
    if not 0 <= warmup < 1:
        raise ValueError(f"task.schedule.warmup={warmup}: the fraction of the steps, must lie in [0, 1)")
    if not 0 <= final <= 1:
        raise ValueError(f"task.schedule.final={final}: a factor of the rate, must lie in [0, 1]")
    if not 0 < factor < 1:
        raise ValueError(f"task.schedule.factor={factor}: must lie in (0, 1), as the plateau lowers the rate by it")
    if patience < 0:
        raise ValueError(f"task.schedule.patience={patience}: a number of epochs, must be >= 0")
    if steps < 1:
        raise ValueError(f"steps={steps}: a schedule needs at least 1 step")
    epochs = [int(epoch) for epoch in settings.get("epochs") or ()]
    if any(epoch < 1 for epoch in epochs):
        raise ValueError(f"task.schedule.epochs={epochs}: numbers of epochs, must be >= 1")
    warmup_steps = int(warmup * steps)
    if (given := settings.get("warmup_steps")) is not None:
        if not 0 <= int(given) < steps:
            raise ValueError(f"task.schedule.warmup_steps={given}: of {steps} steps in all, must lie in [0, {steps})")
        warmup_steps = int(given)
    if name == "cosine":
        return lambda step, _: cosine(step, steps, warmup_steps, final)
    if name == "one_cycle":
        return lambda step, _: one_cycle(step, steps, warmup_steps, final)
    if name == "plateau":
        return lambda _, figures: plateau(figures, factor, patience, figure)
    if name == "steps":
        return lambda _, figures: factor ** sum(len(figures) >= epoch for epoch in epochs)
    return lambda *_: 1.0


def cosine(step: int, steps: int, warmup_steps: int, final: float) -> float:
    """A straight rise from 1/warmup_steps to 1, then half a cosine to `final` at step `steps`.

    optax.warmup_cosine_decay_schedule with init_value = 1/warmup_steps: the first step is not spent at rate
    0.
    """
    if step < warmup_steps:
        start = 1 / warmup_steps
        return start + (1 - start) * step / warmup_steps
    return _half_cosine(1.0, final, (step - warmup_steps) / (steps - warmup_steps))


def one_cycle(step: int, steps: int, warmup_steps: int, final: float) -> float:
    """Half a cosine from 1/25 up to 1 over the warm-up, half a cosine down to `final`:
    optax.cosine_onecycle_schedule.
    """
    if step < warmup_steps:
        return _half_cosine(ONE_CYCLE_START, 1.0, step / warmup_steps)
    return _half_cosine(1.0, final, (step - warmup_steps) / (steps - warmup_steps))


def plateau(figures: Sequence[float], factor: float, patience: int, figure: Figure = ACCURACY) -> float:
    """factor ** (number of reductions): one each time more than `patience` epochs in a row brought no better figure.

    torch.optim.lr_scheduler.ReduceLROnPlateau with threshold 0, in mode 'max' where higher is better, else 'min'.
    """
    best, bad_epochs, reductions = figure.worst, 0, 0
    for value in figures:
        if figure.better(value, than=best):
            best, bad_epochs = value, 0
        else:
            bad_epochs += 1
        if bad_epochs > patience:
            reductions, bad_epochs = reductions + 1, 0
    return factor**reductions


def _half_cosine(start: float, end: float, position: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(position, 1.0)))
