"""task=time: seconds of the train step, of the inference forward and of the one-step recurrent form.

One process after the other, each with a share of the budget, since processes of one configuration differ. Measured: the
first call on its own (compilation is in it); single calls, each waited for (the spread); rounds of calls
back to back with one wait at the end (the headline: seconds a call). This is the plan: how many of them, and when to
stop, so that all phases together keep to a budget of seconds. The clock is in the worker (bench/measure/stopwatch.py),
and nothing is said between the two while it runs. Not measured: loading and moving data, accuracy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bench.store.schema import PHASES
from bench.tasks.context import Context
from bench.tasks.settings import Common, choices
from bench.tasks.task import PEAK, Measure, Task, at
from bench.workers.protocol import Finish, FirstCall, Memory, Refused, Round, Singles, WarmUp
from settings.progress import LEAST_SECONDS, Counter, duration
from settings.reasons import said
from settings.rules import check_number, check_whole

SHORTEST_ROUND_SECONDS = 0.05  # a round of very short calls holds more of them, so that the clock's grain does not show
SINGLE_SHARE = 0.25  # of a phase's time budget, for the single waited calls
LEAST_ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    """conf/task/time.yaml. budget_seconds: of all phases together, without their first calls."""

    phases: Sequence[str]
    warmup: int
    steps: int  # back to back in a round
    rounds: int
    single_steps: int
    processes: int  # one after the other
    budget_seconds: float

    def __post_init__(self) -> None:
        super().__post_init__()
        choices("task.phases", self.phases, PHASES, "phase")
        check_whole("task.warmup", self.warmup, least=0)
        for name in ("steps", "rounds", "single_steps", "processes"):
            check_whole(f"task.{name}", getattr(self, name))
        check_number("task.budget_seconds", self.budget_seconds, low=0.0, open_low=True)


class Asked(Protocol):
    """A worker that was built."""

    def ask(self, body: Any) -> Any: ...


def run(context: Context) -> None:
    """Times each phase in one worker, and then in the next; a phase that the model has no form of is noted once."""
    settings: Settings = context.settings
    share = replace(settings, budget_seconds=settings.budget_seconds / settings.processes)
    told: set[str] = set()

    def note(text: str) -> None:
        if text not in told:
            told.add(text)
            context.note(text)

    with Counter(settings.processes * len(settings.phases) * settings.rounds, "round") as bar:
        for _ in range(settings.processes):
            worker = context.start(context.build, recorded=True)
            context.begin(worker)
            measure(worker, share, note, bar)
            worker.ask(Finish())
            context.dismiss([worker])


def measure(worker: Asked, settings: Settings, note: Callable[[str], None], bar: Counter) -> None:
    """The plan of all phases. worker: built. note: takes what a reader of the figures should know. bar: counts rounds;
    lines are written between them.
    """
    begin = time.perf_counter()
    compiling = 0.0
    asked = False
    for position, phase in enumerate(settings.phases, start=1):
        bar.bar.set_description(phase)
        called = time.perf_counter()
        try:
            with bar.voice.during(f"compiling {phase}"):
                worker.ask(FirstCall(phase))
        except Refused as error:
            note(f"{phase} is not measured: {said(error)}")
        else:
            # First calls compile, for as long as they like: they are not in the budget.
            compiling += time.perf_counter() - called
            share = settings.budget_seconds * position / len(settings.phases)
            _phase(worker, phase, settings, begin + compiling + share, note, bar)
        if phase == "train_step":
            worker.ask(Memory())  # before the other phases come in
            asked = True
    if not asked:
        worker.ask(Memory())


def _phase(
    worker: Asked, phase: str, settings: Settings, deadline: float, note: Callable[[str], None], bar: Counter
) -> None:
    """Warm-up, single calls and rounds of one phase, which shall be over at `deadline`."""
    begin = time.perf_counter()
    worker.ask(WarmUp(phase, settings.warmup))
    share = SINGLE_SHARE * max(0.0, deadline - time.perf_counter())
    singles = worker.ask(Singles(phase, settings.single_steps, share)).samples
    if len(singles) < settings.single_steps:
        short = f"{len(singles)} single steps instead of {settings.single_steps}"
        note(f"{phase}: {short}, as task.budget_seconds ran short")

    usual = sorted(singles)[len(singles) // 2]
    count = max(settings.steps, math.ceil(SHORTEST_ROUND_SECONDS / usual))
    affordable = int((deadline - time.perf_counter()) / LEAST_ROUNDS / usual)
    if affordable < count:
        count = max(1, affordable)
        if count < settings.steps:
            note(f"{phase}: rounds of {count} steps instead of {settings.steps}, as task.budget_seconds ran short")
    for number in range(1, settings.rounds + 1):
        # Where a round takes a minute, a thread here says so; lines of shorter ones stand between them.
        with bar.voice.during(f"{phase}: round {number} of {settings.rounds}"):
            (seconds,) = worker.ask(Round(phase, count)).samples
        bar.update()
        now = time.perf_counter()
        if bar.due(LEAST_SECONDS):
            each, left = f"{1e3 * seconds / count:.4g} ms a call", f"at most {duration(deadline - now)} left"
            bar.voice.say(f"{phase}: round {number} of {settings.rounds}, {each}, {left}")
        if LEAST_ROUNDS <= number < settings.rounds and now + seconds > deadline:
            note(
                f"{phase}: {number} rounds instead of {settings.rounds}, in {now - begin:.1f} s after the first call, "
                "as task.budget_seconds ran short"
            )
            break


def _work(settings: Settings, sequences: int) -> str:
    phases = ", ".join(settings.phases)
    processes = f"{settings.processes} process{'es' * (settings.processes != 1)}"
    return f"{settings.rounds} rounds of each of {phases} in {processes}, in about {settings.budget_seconds:g} s"


ESTIMATE = "Compiler's estimate: what JAX says that the arrays of a train step take."
MEASURES = (
    Measure("train_step", "train step", at("timing.train_step_seconds"), "ms", 1e3),
    Measure("forward", "forward", at("timing.forward_seconds"), "ms", 1e3),
    Measure("recurrent_step", "recurrent step", at("timing.recurrent_step_seconds"), "ms", 1e3),
    Measure("compile", "compile", at("timing.compile_seconds"), "s", form=".1f"),
    Measure("peak", "peak memory", at("memory.peak_bytes"), "MB", 1e-6, ".0f", note=PEAK),
    Measure(
        *("compiled", "compiler's estimate", at("memory.compiled_bytes"), "MB", 1e-6, None),
        note=ESTIMATE,
    ),
    Measure(
        *("throughput", "samples/s", at("throughput.samples_per_second")),
        form=".4g",
    ),
)
LOOKING = frozenset({"budget_seconds", "phases", "processes", "rounds", "single_steps", "steps", "warmup"})
TASK = Task(Settings, run, MEASURES, certified=True, exclusive=True, looking=LOOKING, work=_work)
