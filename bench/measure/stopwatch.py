"""Seconds of calls: the first one, single ones that are waited for, and many back to back with one wait at the end.

Python's garbage collector is off while the clock runs, and a compilation meanwhile is an error. Single calls and rounds
answer different questions; do not mix them. How many of which are worth their time is decided elsewhere
(bench/tasks/time.py), and nothing is known here of what is called.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.framework import Handle, Recompiled, Trainer

Calls = Iterator[Callable[[], Handle]]  # an endless iterator: each is called once
Keep = Callable[[Handle], object]  # is given what each call gave; it runs in the clock, and must do next to nothing


def first_call(trainer: Trainer, calls: Calls, keep: Keep, ahead: Callable[[], None]) -> float:
    """Seconds of `ahead` and of one call, waited for: compilation is in them. The collector is as it was."""
    begin = time.perf_counter()
    ahead()
    return time.perf_counter() - begin + _waited(trainer, calls, keep, 1)


def warm_up(trainer: Trainer, calls: Calls, keep: Keep, count: int) -> None:
    """Calls outside all clocks, each waited for."""
    for _ in range(count):
        _waited(trainer, calls, keep, 1)


def single_calls(trainer: Trainer, calls: Calls, keep: Keep, count: int, seconds: float) -> list[float]:
    """Seconds of calls, each waited for: `count`; fewer, but two, where `seconds` are over before. Recompiled."""
    with _undisturbed(trainer):
        until = time.perf_counter() + seconds
        samples: list[float] = []
        while len(samples) < max(1, count):
            samples.append(_waited(trainer, calls, keep, 1))
            if time.perf_counter() > until and len(samples) >= 2:
                break
    return samples


def calls_in_a_row(trainer: Trainer, calls: Calls, keep: Keep, count: int) -> float:
    """Seconds of `count` calls back to back, with one wait at the end. Recompiled."""
    with _undisturbed(trainer):
        return _waited(trainer, calls, keep, count)


def _waited(trainer: Trainer, calls: Calls, keep: Keep, count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        handle = next(calls)()
        keep(handle)
    trainer.wait(handle)
    return time.perf_counter() - begin


@contextmanager
def _undisturbed(trainer: Trainer) -> Iterator[None]:
    """The collector runs before and not while; Recompiled where a program was compiled meanwhile."""
    compiled, was_on = trainer.compilations(), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
    now = trainer.compilations()
    if now != compiled:
        raise Recompiled(
            f"{now - compiled} program(s) were compiled inside the timed part; "
            "its times are not of steps alone (a shape or dtype changed between calls)"
        )
