"""task=time: seconds of the train step, of the inference forward and of the one-step recurrent form.

Measured: the first call on its own (compilation is in it); rounds of K calls back to back with one wait at
the end (the headline: seconds a call); single calls, each waited for (the spread). Garbage collection is off
while the clock runs, and a compilation inside the timed part is an error. Several batches, on the device
beforehand, take turns. Not measured: loading and moving data, accuracy; what is not finite (bench/watch.py). The two
kinds of sample answer different questions; do not mix them.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from tqdm import tqdm

from bench.framework import Handle, Recompiled, Trainer
from bench.memory import PeakMeter, compile_ahead
from bench.statistics import summary
from bench.watch import Watch
from datasets.batches import epoch_order, fit_length

PHASES = ("train_step", "forward", "recurrent_step")
BATCHES_IN_TURN = 4
SHORTEST_ROUND_SECONDS = 0.05  # a round of very short calls holds more of them, so that the clock's grain does not show
SINGLE_SHARE = 0.25  # of a phase's time budget, for the single waited calls
LEAST_ROUNDS = 2


def time_task(
    trainer: Trainer,
    data: Any,
    settings: Mapping[str, Any],
    result: dict[str, Any],
    *,
    seed: int,
    operations: Mapping[str, float] | None,
    baseline_bytes: int,
    progress: bool | None = None,
) -> None:
    """Times settings["phases"] and fills result's sections timing, throughput, memory, operations and notes.

    trainer: built, not yet called. data: datasets Dataset; its train split gives the batches.
    settings: task/time: batch_size, length (null: the data's own), phases, warmup, steps (K), rounds,
    single_steps, budget_seconds (for all phases together, without their first calls). result: filled while
    measuring, so that an interrupted run keeps what it has. operations: analytic operations and bytes a step,
    copied into the record. baseline_bytes: memory.baseline(). progress: True shows a bar, False none, None one
    where stderr is a terminal.
    Raises Recompiled, naming the phase, and Diverged, with the step, once a loss or logits are not finite; the rounds
    before it are kept.
    """
    batch_size, phases = int(settings["batch_size"]), list(settings["phases"])
    for phase in phases:
        if phase not in PHASES:
            raise ValueError(f"task.phases has {phase!r}: unknown; choose from {', '.join(PHASES)}")
    timing: dict[str, Any] = {f"{phase}_seconds": None for phase in PHASES}
    timing |= {"compile_seconds": None, "first_call_seconds": {}}
    result |= {"timing": timing, "throughput": None, "memory": None, "operations": operations}
    notes = result.setdefault("notes", [])
    meter = PeakMeter(trainer, baseline_bytes)

    rows = epoch_order(len(data.train.targets), batch_size, seed, 0)[:BATCHES_IN_TURN]
    length = settings.get("length") or data.description.length
    inputs = [fit_length(data.train.inputs[row], length) for row in rows]
    batches = [trainer.put(x, data.train.targets[row]) for x, row in zip(inputs, rows, strict=True)]

    begin = time.perf_counter()
    bar = tqdm(
        total=len(phases) * int(settings["rounds"]),
        unit="round",
        disable=None if progress is None else not progress,
    )
    with bar:
        for position, phase in enumerate(phases, start=1):
            bar.set_description(phase)
            calls = _calls(trainer, phase, batches, inputs, batch_size, notes)
            if calls is not None:
                # First calls compile, for as long as they like: they are not in the budget.
                compiling = sum(timing["first_call_seconds"].values())
                deadline = begin + compiling + float(settings["budget_seconds"]) * position / len(phases)
                ahead, steady = _nothing, _nothing
                if phase == "train_step":
                    ahead, steady = partial(compile_ahead, trainer, batches[0]), meter.mark_steady
                _time_phase(trainer, phase, calls, settings, deadline, timing, notes, bar, ahead, steady)
            if phase == "train_step":
                median = timing["train_step_seconds"]["median"]
                result["throughput"] = {
                    "samples_per_second": batch_size / median,
                    "tokens_per_second": batch_size * data.description.documents * length / median,
                }
                result["memory"] = meter.section()
    if result["memory"] is None:
        result["memory"] = meter.section()


def _nothing() -> None:
    """What the phases other than the train step do before and after their first call."""


def _calls(
    trainer: Trainer, phase: str, batches: list[Any], inputs: list[Any], batch_size: int, notes: list[str]
) -> Iterator[Callable[[], Handle]] | None:
    """An endless iterator of the phase's calls, over batches in turn; None, with a note, where there is
    no such form.
    """
    if phase == "train_step":
        return _in_turn(lambda batch: trainer.train_step(batch, 1.0), batches)
    if phase == "forward":
        return _in_turn(trainer.forward, batches)
    try:
        trainer.start_recurrence(batch_size)
    except ValueError as error:
        notes.append(f"recurrent_step is not measured: {error}")
        return None
    return _in_turn(trainer.recurrent_step, [trainer.put_step(x[:, 0]) for x in inputs])


def _in_turn(call: Callable[[Any], Handle], arguments: list[Any]) -> Iterator[Callable[[], Handle]]:
    while True:
        for argument in arguments:
            yield partial(call, argument)


def _time_phase(
    trainer: Trainer,
    phase: str,
    calls: Iterator[Callable[[], Handle]],
    settings: Mapping[str, Any],
    deadline: float,
    timing: dict[str, Any],
    notes: list[str],
    bar: tqdm,
    ahead: Callable[[], None],
    steady: Callable[[], None],
) -> None:
    steps, rounds = int(settings["steps"]), int(settings["rounds"])
    watch = Watch(trainer, phase, BATCHES_IN_TURN)
    begin = time.perf_counter()
    ahead()
    first_seconds = time.perf_counter() - begin + _waited(trainer, calls, 1, watch)
    deadline += first_seconds
    begin = time.perf_counter()
    timing["first_call_seconds"][phase] = first_seconds
    steady()
    for _ in range(int(settings["warmup"])):
        _waited(trainer, calls, 1, watch)
    watch.look()

    compiled = trainer.compilations()
    singles: list[float] = []
    with _collector_off():
        started = time.perf_counter()
        single_until = started + SINGLE_SHARE * max(0.0, deadline - started)
        while len(singles) < max(1, int(settings["single_steps"])):
            singles.append(_waited(trainer, calls, 1, watch))
            if time.perf_counter() > single_until and len(singles) >= 2:
                break
    watch.look()
    _no_compilation(trainer, phase, compiled)
    if len(singles) < int(settings["single_steps"]):
        short = f"{len(singles)} single steps instead of {settings['single_steps']}"
        notes.append(f"{phase}: {short}, as task.budget_seconds ran short")

    usual = sorted(singles)[len(singles) // 2]
    count = max(steps, math.ceil(SHORTEST_ROUND_SECONDS / usual))
    affordable = int((deadline - time.perf_counter()) / LEAST_ROUNDS / usual)
    if affordable < count:
        count = max(1, affordable)
        if count < steps:
            notes.append(f"{phase}: rounds of {count} steps instead of {steps}, as task.budget_seconds ran short")
    samples: list[float] = []
    for _ in range(rounds):
        with _collector_off():
            samples.append(_waited(trainer, calls, count, watch) / count)
        watch.look()
        _no_compilation(trainer, phase, compiled)
        timing[f"{phase}_seconds"] = {
            **summary(samples),
            "single": summary(singles),
            "steps_per_round": count,
        }
        bar.update()
        now = time.perf_counter()
        if len(samples) >= LEAST_ROUNDS and len(samples) < rounds and now + samples[-1] * count > deadline:
            notes.append(
                f"{phase}: {len(samples)} rounds instead of {rounds}, in {now - begin:.1f} s after the first call, "
                "as task.budget_seconds ran short"
            )
            break
    if phase == "train_step" or timing["compile_seconds"] is None:
        # What the first call took beyond a usual one: tracing, compiling and first allocations.
        median = timing[f"{phase}_seconds"]["median"]
        timing["compile_seconds"] = summary([max(0.0, first_seconds - median)])


def _waited(trainer: Trainer, calls: Iterator[Callable[[], Handle]], count: int, watch: Watch) -> float:
    """Seconds of `count` calls back to back, with one wait at the end; `watch` keeps what they give."""
    keep = watch.keep
    begin = time.perf_counter()
    for _ in range(count):
        handle = next(calls)()
        keep(handle)
    trainer.wait(handle)
    return time.perf_counter() - begin


def _no_compilation(trainer: Trainer, phase: str, before: int) -> None:
    now = trainer.compilations()
    if now != before:
        raise Recompiled(
            f"{phase}: {now - before} program(s) were compiled inside the timed part; "
            "its times are not of steps alone (a shape or dtype changed between calls)"
        )


@contextmanager
def _collector_off() -> Iterator[None]:
    """Python's garbage collector runs before the clock starts and not while it runs."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
