"""task=train: epochs of AdamW steps with validation, a schedule, early stopping, and one test of the best weights.

One worker trains from the first step to the test (bench/workers/training.py) and says when an epoch is over. Not
measured: the step's time (task=time does that; here data, reading and Python are in the clock too).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.store import checkpoints
from bench.tasks.context import Context
from bench.tasks.settings import Common, Rule, apply, optional
from bench.tasks.task import PEAK, Measure, Record, Task, at
from bench.workers.protocol import Epoch, Finish, Memory, Train
from bench.workers.schedules import NAMES as SCHEDULES
from settings.errors import SettingError
from settings.progress import VOICE
from settings.rules import check_choice, check_flag, check_number, check_whole


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    """conf/task/train.yaml. steps: None: epochs decide. patience: None: no early stop."""

    epochs: int
    steps: int | None
    patience: int | None
    schedule: Mapping[str, Any]
    limit_seconds: float | None
    checkpoint_seconds: float | None
    keep: int
    stop_at_chance: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("task.epochs", self.epochs)
        optional(check_whole)("task.steps", self.steps)
        optional(check_whole)("task.patience", self.patience)
        above = partial(check_number, low=0.0, open_low=True)
        optional(above)("task.limit_seconds", self.limit_seconds)
        optional(above)("task.checkpoint_seconds", self.checkpoint_seconds)
        check_whole("task.keep", self.keep)
        check_flag("task.stop_at_chance", self.stop_at_chance)
        apply("task.schedule.", self.schedule, _SCHEDULE)


def run(context: Context) -> None:
    """Trains in one worker; each epoch is told as it ends."""
    settings: Settings = context.settings

    def on_notice(body: Any) -> None:
        if isinstance(body, Epoch):
            context.on_epoch(body.entry)

    worker = context.start(context.build, recorded=True, on_notice=on_notice)
    context.begin(worker)
    request = Train(settings.epochs, settings.steps, settings.patience, settings.schedule)
    request = replace(request, limit_seconds=settings.limit_seconds, stop_at_chance=settings.stop_at_chance)
    if settings.checkpoint_seconds is not None:
        request = replace(
            request, checkpoint_seconds=settings.checkpoint_seconds, keep=settings.keep, **_place(context)
        )
    with VOICE.during(None):  # the worker says itself how far it is
        worker.ask(request)
    worker.ask(Memory())
    worker.ask(Finish())


def _place(context: Context) -> dict[str, Any]:
    """Where the run's checkpoints lie, and whether it goes on from one there."""
    key = checkpoints.key(context.record, LOOKING)
    unfinished = None
    if context.config["resume"] == "auto":
        unfinished = checkpoints.unfinished(context.results_dir, key)
    place = unfinished or checkpoints.folder(context.results_dir, key, context.record["id"])
    about = {name: context.record[name] for name in ("id", "model", "framework", "dataset", "precision", "seed")}
    return {"checkpoints": str(place), "go_on": unfinished is not None, "about": about}


def _work(settings: Settings, sequences: int) -> str:
    each = sequences // settings.batch_size
    if settings.steps is not None:
        return f"{settings.steps:,} steps of {each:,} an epoch"
    return f"{settings.epochs:,} epochs x {each:,} steps"


def _epoch_seconds(record: Record) -> list[float]:
    """Without the first epoch, which also compiles, where there are others."""
    seconds = [epoch.get("seconds") for epoch in (record["curve"] or {}).get("epochs") or []]
    return [float(one) for one in seconds[1:] or seconds if one is not None]


def _data_share(record: Record) -> list[float]:
    ledger = record["ledger"] or {}
    loading, steps = ledger.get("data_seconds"), ledger.get("step_seconds")
    return [loading / (loading + steps)] if loading is not None and steps else []


def _epochs(name: str, value: object) -> None:
    if not isinstance(value, list):
        raise SettingError(name, value, "must be a list of epochs", f"write {name}=[7,13], say.")
    for epoch in value:
        check_whole(name, epoch)


_SCHEDULE: dict[str, Rule] = {
    "name": partial(check_choice, choices=SCHEDULES),
    "warmup": partial(check_number, low=0.0, high=1.0, open_high=True),
    "final": partial(check_number, low=0.0, high=1.0),
    "factor": partial(check_number, low=0.0, high=1.0, open_low=True, open_high=True),
    "patience": partial(check_whole, least=0),
    "warmup_steps": optional(partial(check_whole, least=0)),
    "epochs": _epochs,
}
WAITING = "Waiting for data: loading it and waiting for batches, of that time and the steps'."
MEASURES = (
    Measure(
        *("test", "test accuracy", at("accuracy.test"), "%", 100, ".2f"),
        selected=True,
    ),
    Measure(
        *("validation", "validation accuracy", at("accuracy.validation"), "%", 100, ".2f"),
        selected=True,
    ),
    Measure("epoch", "an epoch", _epoch_seconds, "s", form=None),
    Measure("data", "waiting for data", _data_share, "%", 100, None, note=WAITING),
    Measure("peak", "peak memory", at("memory.peak_bytes"), "MB", 1e-6, ".0f", note=PEAK),
)
LOOKING = frozenset({"checkpoint_seconds", "keep", "limit_seconds"})
TASK = Task(Settings, run, MEASURES, certified=True, looking=LOOKING, work=_work)
