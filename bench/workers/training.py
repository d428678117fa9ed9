"""task=train: epochs of AdamW steps with validation, a schedule, early stopping, and one test of the best
weights.

Gives accuracy, loss, the curve, and a ledger of where the time went. No step waits for the host: losses are
read in bulk when an epoch ends, and CHECK_EVERY steps late in between, to stop a run whose loss, of training
or of an evaluation, is no longer finite. Not measured: the step's time (task=time does that; here data,
reading and Python are in the clock too).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

from bench.framework import Batch, Diverged, Metrics, Trainer
from bench.measure.memory import compile_ahead
from bench.store.checkpoints import Checkpoint
from bench.store.files import RecordError
from bench.workers import chance
from bench.workers.finite import described, first_not_finite
from bench.workers.keeper import Keeper, split
from bench.workers.schedules import schedule
from datasets.batches import Prefetcher, at_length, epoch_order, evaluation_batches
from settings.problem import Problem
from settings.progress import LEAST_SECONDS, Counter
from settings.reasons import said

CHECK_EVERY = 50  # steps; those read are at least as many steps old, so that the device's queue never runs dry
CPU_HOLD_BYTES = 2**30
GPU_HOLD_SHARE = 0.25
LEAST_STEPS = 200  # before it is said that a network is at chance


def hold_limit(device: Mapping[str, Any]) -> int:
    """Bytes of data that may stay on the device: a quarter of a GPU's memory, 1 GiB on a CPU. device:
    Adapter.device().
    """
    memory_bytes = device.get("memory_bytes")
    if device["kind"] == "gpu" and memory_bytes:
        return int(GPU_HOLD_SHARE * memory_bytes)
    return CPU_HOLD_BYTES


def train_task(
    trainer: Trainer,
    data: Any,
    settings: Mapping[str, Any],
    result: dict[str, Any],
    *,
    seed: int,
    ledger: dict[str, float],
    progress: bool | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    hold_bytes: int = CPU_HOLD_BYTES,
    keeper: Keeper | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Trains and fills result's sections accuracy, loss, curve, ledger, timing (first call only) and notes.

    trainer: built. data: datasets Dataset (train, validation, test). settings: task/train: batch_size,
    epochs, steps (overrides epochs), length (null: the data's own), schedule, patience, limit_seconds,
    stop_at_chance; rates and clipping are the trainer's. result: filled while training: an interrupted or diverged run
    keeps its curve. ledger: seconds so far (import_seconds, build_seconds), to which compile_, data_, step_ and
    evaluation_seconds are added. on_epoch: is given each epoch's entry of the curve. progress: as Counter's `shown`.
    hold_bytes: hold_limit(). keeper: keeps checkpoints; None: there are none. checkpoint: to go on from.
    Raises Stopped where a setting ends it before its last step, with a checkpoint.
    Raises Diverged when a loss is NaN or infinite: a step's, the validation's or the test's; its message names the
    step and the first parameter that is not finite. Also before the first step, where a parameter starts so.
    """
    training = _Training(trainer, data, settings, result, seed, ledger, progress, on_epoch, hold_bytes, keeper)
    if checkpoint is not None:
        training.go_on_from(checkpoint)
    training.run()


class Stopped(RuntimeError):
    """The training ended in good order before its last step, as a setting asks; the message says which."""


class _Feed:
    """Batches of one split: picked on the device where the split is small enough, else prefetched from
    the host.
    """

    def __init__(self, trainer: Trainer, split: Any, problem: Problem, hold_bytes: int) -> None:
        self.trainer, self.count = trainer, len(split.targets)
        self.inputs, self.targets = at_length(split.inputs, split.targets, problem)
        self.held = None
        if self.inputs.nbytes + self.targets.nbytes <= hold_bytes:
            self.held = trainer.hold(np.asarray(self.inputs), self.targets)

    def compile(self, batch_size: int) -> None:
        """What picks batches, where the split is held: the first step would wait for it, and not for data."""
        if self.held is not None:
            self.trainer.take(self.held, np.zeros(batch_size, np.int64))

    def batches(self, order: np.ndarray) -> Generator[Batch, None, None]:
        """order (steps, B) int64 -> device batches in that order."""
        if self.held is not None:
            for rows in order:
                yield self.trainer.take(self.held, rows)
            return
        with Prefetcher(self.inputs, self.targets, order, self.trainer.put) as prefetcher:
            yield from prefetcher


class _Training:
    def __init__(
        self,
        trainer: Trainer,
        data: Any,
        settings: Mapping[str, Any],
        result: dict[str, Any],
        seed: int,
        ledger: dict[str, float],
        progress: bool | None,
        on_epoch: Callable[[dict[str, Any]], None] | None,
        hold_bytes: int,
        keeper: Keeper | None = None,
    ) -> None:
        self.begin = time.perf_counter()
        self.keeper = keeper
        self.limit_seconds = settings.get("limit_seconds")
        self.stop_at_chance = bool(settings.get("stop_at_chance"))
        self.chance = chance.of_targets(data.train.targets, data.description.problem.classes)
        self.done = self.epoch = 0  # steps taken, epochs validated
        self.epoch_seconds = 0.0  # of the epoch under way, before this process
        self.best_epoch = 0
        self.called = False  # whether this process has taken a step
        self.suspect: str | None = None  # what there is to say of losses at chance
        self.waited = 0.0  # for data, in the epoch under way
        self.trainer, self.data, self.result, self.seed, self.on_epoch = trainer, data, result, seed, on_epoch
        self.batch_size = int(settings["batch_size"])
        problem = data.description.problem
        self.problem = problem.at(settings.get("length") or problem.length)
        self.per_epoch = len(epoch_order(len(data.train.targets), self.batch_size, seed, 0))
        steps = settings.get("steps")
        self.steps = int(steps) if steps is not None else int(settings["epochs"]) * self.per_epoch
        self.schedule = schedule(settings.get("schedule") or {}, self.steps, self.problem.selects)
        self.patience = settings.get("patience")
        self.hold_bytes = hold_bytes
        self.progress = progress

        self.ledger = ledger
        for name in ("compile_seconds", "data_seconds", "step_seconds", "evaluation_seconds"):
            ledger.setdefault(name, 0.0)
        self.epochs: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.correct: list[float] = []
        self.pending: list[Metrics] = []
        self.selects = self.problem.selects  # the figure that chooses the best epoch
        self.best = self.selects.worst
        self.best_state: dict[str, np.ndarray] | None = None
        self.first_calls: dict[str, float] = {}
        self.result |= {
            "curve": {"step_loss": self.losses, "epochs": self.epochs},
            "accuracy": {"validation": None, "test": None},
            "loss": {"train": None, "validation": None, "test": None},
            "ledger": ledger,
            "timing": {
                "train_step_seconds": None,
                "forward_seconds": None,
                "recurrent_step_seconds": None,
                "compile_seconds": None,
                "first_call_seconds": self.first_calls,
            },
        }
        self.notes: list[str] = self.result.setdefault("notes", [])

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Everything as it was. ValueError where the checkpoint is not of such a network."""
        snapshot, best = split(checkpoint)
        state = checkpoint.state
        self.trainer.resume(snapshot)
        self.done, self.epoch, self.epoch_seconds = state["step"], state["epoch"], state["epoch_seconds"]
        self.losses += state["losses"]
        self.correct += state["correct"]
        self.best_state, self.best_epoch = best, state["best_epoch"]
        for name, seconds in state["ledger"].items():
            self.ledger[name] = self.ledger.get(name, 0.0) + seconds
        self.notes += [*state["notes"], f"went on from step {self.done:,} of {self.steps:,}"]
        for entry in state["epochs"]:
            self._enter(entry)

    def _state(self, finished: bool) -> dict[str, Any]:
        """What a checkpoint holds beside arrays."""
        under_way = self.done > self.epoch * self.per_epoch and not finished
        running = time.perf_counter() - self.epoch_begin if under_way else 0.0
        ledger = dict(self.ledger)
        if under_way:
            ledger["data_seconds"] += self.waited
            ledger["step_seconds"] += running - self.waited
        return {
            "epoch": self.epoch,
            "epoch_seconds": running + self.epoch_seconds,
            "losses": self.losses,
            "correct": self.correct,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "ledger": ledger,
            "notes": [note for note in self.notes if not note.startswith("went on from step ")],
            "finished": finished,
        }

    def _save(self) -> None:
        """A checkpoint, all of whose losses are known to be finite."""
        if self.keeper is not None:
            self._read(len(self.pending))
            with self.bar.voice.during("writing a checkpoint"):
                self._written(self.trainer.snapshot(), finished=False)

    def _written(self, snapshot: dict[str, np.ndarray], finished: bool) -> None:
        """A training goes on where its checkpoint cannot be written, and says so."""
        assert self.keeper is not None
        try:
            self.keeper.save(len(self.losses), snapshot, self.best_state, self._state(finished))
        except RecordError as error:
            self.bar.voice.say(f"warning: {said(error)}")
            self.notes.append(f"checkpoint of step {len(self.losses):,}: {said(error)}")

    def _look_up(self) -> None:
        """Between two steps: whether the loss is at chance, a checkpoint is due, or the time is over."""
        suspect, self.suspect = self.suspect, None
        self._at_chance(suspect)
        if self.keeper is not None and self.keeper.due():
            self._save()
        if self.limit_seconds is not None and time.perf_counter() - self.begin >= self.limit_seconds:
            self._save()
            over = f"task.limit_seconds={self.limit_seconds:g} are over at step {len(self.losses):,} of {self.steps:,}"
            raise Stopped(f"{over}; the same command with resume=auto goes on from there")

    def _at_chance(self, found: str | None) -> None:
        """Says it on the screen, once in the record, and ends the training where that is wished."""
        if found is None:
            return
        if not any("at chance" in note for note in self.notes):
            self.notes.append(found)
        self.bar.voice.say(f"warning: {found}")
        if self.stop_at_chance:
            self._save()
            raise Stopped(f"task.stop_at_chance: {found}")

    def run(self) -> None:
        broken = first_not_finite(self.trainer.state())  # now: a step from there leaves no parameter finite
        if broken is not None:
            raise Diverged(f"parameter {broken} is not finite before step 1 of {self.steps}: give it a finite value")
        begin = time.perf_counter()
        train = _Feed(self.trainer, self.data.train, self.problem, self.hold_bytes)
        validation = _Feed(self.trainer, self.data.validation, self.problem, self.hold_bytes)
        loaded = time.perf_counter()
        self.ledger["data_seconds"] += loaded - begin
        with Counter(self.steps, "step", shown=self.progress) as self.bar:
            voice = self.bar.voice
            with voice.during("compiling what picks the batches"):
                train.compile(self.batch_size)
            self.ledger["compile_seconds"] += time.perf_counter() - loaded
            self.bar.update(self.done)
            while self.done < self.steps and not self._out_of_patience():
                start = self.epoch * self.per_epoch
                order = epoch_order(train.count, self.batch_size, self.seed, self.epoch)[: self.steps - start]
                with voice.during(self.bar.text):
                    self._epoch(train, order[self.done - start :])
                self._validate(validation, len(order))
                self._report_epoch(self.epoch)
                if self.keeper is not None and self.keeper.due():
                    self._save()
            if self.done < self.steps:
                self.notes.append(f"stopped early: no better validation {self.selects.name} in {self.patience} epochs")
            after = self.trainer.snapshot() if self.keeper is not None else None
            self._test()
            if after is not None:
                self._written(after, finished=True)

    def _figures(self) -> list[float]:
        """What chooses the best epoch, of each so far."""
        return [entry[f"validation_{self.selects.name}"] for entry in self.epochs]

    def _epoch(self, feed: _Feed, order: np.ndarray) -> None:
        """The steps of one epoch that are left, queued; their losses read at its end."""
        self.epoch_begin = begin = time.perf_counter()
        figures = self._figures()
        self.waited = first = 0.0
        before = len(self.losses)
        batches = feed.batches(order)
        try:
            for step in range(self.done, self.done + len(order)):
                asked = time.perf_counter()
                batch = next(batches)
                self.waited += time.perf_counter() - asked
                self.scale = self.schedule(step, figures)
                asked = time.perf_counter()
                if not self.called:
                    with self.bar.voice.during("compiling the train step"):
                        compile_ahead(self.trainer, batch)
                        self.pending.append(self.trainer.train_step(batch, self.scale))
                        first = self._first_call("train_step", self.pending[0], asked)
                else:
                    self.pending.append(self.trainer.train_step(batch, self.scale))
                self.done = step + 1
                self.bar.update()
                if not self.called:
                    self.called = True
                    self.bar.restart()
                if len(self.pending) >= 2 * CHECK_EVERY:
                    self._read(CHECK_EVERY)
                self._look_up()
                if self.bar.due():
                    self._read(len(self.pending) // 2)  # the younger half keeps the device's queue from running dry
                    self.bar.report()
        finally:
            # Also on Ctrl-C: the steps that were taken belong to the curve, their seconds to the ledger.
            batches.close()
            try:
                self._read(len(self.pending))
            finally:
                seconds = time.perf_counter() - begin - self.waited
                self.ledger["data_seconds"] += self.waited
                self._book("step_seconds", seconds, first, len(self.losses) - before)

    def _first_call(self, name: str, handle: Metrics, begin: float) -> float:
        """Waits for the one call of its kind that is waited for: tracing and compilation are in it."""
        self.trainer.wait(handle)
        self.first_calls[name] = time.perf_counter() - begin
        return self.first_calls[name]

    def _book(self, name: str, seconds: float, first: float, calls: int) -> None:
        """Adds `calls` calls that took `seconds` to the ledger; what the first of them, where it was the first
        of its kind (first > 0), took beyond a usual one is compilation.
        """
        usual = (seconds - first) / (calls - 1) if calls > 1 else 0.0
        compiling = max(0.0, first - usual)
        self.ledger["compile_seconds"] += compiling
        self.ledger[name] += seconds - compiling

    def _read(self, count: int) -> None:
        """Reads the oldest `count` pending losses; Diverged where one of them is not finite."""
        metrics, self.pending = self.pending[:count], self.pending[count:]
        for loss, correct in self.trainer.read_all(metrics):
            self.losses.append(loss)
            self.correct.append(correct)
            if not math.isfinite(loss):
                self.pending.clear()
            self._must_be_finite(loss, "loss", f"at step {len(self.losses)} of {self.steps}")
            self.suspect = chance.within_epoch(self.chance, self.losses) or self.suspect
        if metrics:
            self._show()

    def _report_epoch(self, epoch: int) -> None:
        self._show()
        self.bar.report(f"epoch {epoch} of {math.ceil(self.steps / self.per_epoch)}", LEAST_SECONDS)

    def _show(self) -> None:
        accuracy = {"accuracy": f"{self.epochs[-1]['validation_accuracy']:.4f}"} if self.epochs else {}
        self.bar.show({"rate": f"x{self.scale:.3g}"}, loss=f"{self.losses[-1]:.4f}", **accuracy)

    def _validate(self, feed: _Feed, steps: int) -> None:
        """After an epoch of so many steps."""
        loss, accuracy = self._evaluate(feed, f"validating after epoch {self.epoch + 1}")
        entry = {
            "epoch": self.epoch + 1,
            "step": self.done,
            "train_loss": float(np.mean(self.losses[-steps:])),
            "train_accuracy": float(np.sum(self.correct[-steps:]) / (steps * self.batch_size)),
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "rate_scale": self.scale,
            "seconds": time.perf_counter() - self.epoch_begin + self.epoch_seconds,
        }
        self.epoch, self.epoch_seconds = self.epoch + 1, 0.0
        if self._enter(entry):
            self.best_state, self.best_epoch = self.trainer.state(), self.epoch
        if self.done >= LEAST_STEPS:
            self._at_chance(chance.at_epoch_end(self.chance, loss, accuracy, feed.count))

    def _enter(self, entry: dict[str, Any]) -> bool:
        """An epoch into the curve; whether it is the best so far."""
        self.epochs.append(entry)
        self.result["loss"]["train"] = entry["train_loss"]
        when = f"after step {entry['step']} of {self.steps}"
        self._must_be_finite(entry["validation_loss"], "validation loss", when)
        found = self._figures()[-1]
        best = self.selects.better(found, than=self.best)
        if best:
            self.best = found
            for part in ("accuracy", "loss"):
                self.result[part]["validation"] = entry[f"validation_{part}"]
        if self.on_epoch is not None:
            self.on_epoch(entry)
        return best

    def _out_of_patience(self) -> bool:
        return self.patience is not None and self.epoch - self.best_epoch >= int(self.patience)

    def _test(self) -> None:
        """The test split, seen once, with the weights of the best epoch."""
        assert self.best_state is not None
        self.trainer.restore(self.best_state)
        feed = _Feed(self.trainer, self.data.test, self.problem, self.hold_bytes)
        loss, accuracy = self._evaluate(feed, "testing")
        self.result["loss"]["test"] = loss
        self._must_be_finite(loss, "test loss", f"with the weights of epoch {self.best_epoch}")
        self.result["accuracy"]["test"] = accuracy

    def _must_be_finite(self, loss: float, name: str, when: str) -> None:
        if not math.isfinite(loss):
            raise Diverged(
                f"{name} is {loss} {when}: training diverged ({described(self.trainer.state())}); lower "
                "task.optimiser.rate, or set task.clip_norm"
            )

    def _evaluate(self, feed: _Feed, work: str) -> tuple[float, float]:
        """Mean loss and accuracy over a split; the last batch is padded, so that no other shape is
        compiled. work: what it is for, to be said where it takes long.
        """
        begin, first = time.perf_counter(), 0.0
        pairs = list(evaluation_batches(feed.count, self.batch_size))
        order, counts = np.stack([rows for rows, _ in pairs]), [count for _, count in pairs]
        batches = feed.batches(order)
        read: list[tuple[float, float]] = []
        metrics: list[Metrics] = []
        counted = self.bar.voice.during(lambda: f"{work}: batch {len(read) + len(metrics)} of {len(counts)}")
        try:
            with counted:
                for batch, count in zip(batches, counts, strict=True):
                    asked = time.perf_counter()
                    metrics.append(self.trainer.evaluate(batch, count))
                    if "evaluate" not in self.first_calls:
                        first = self._first_call("evaluate", metrics[0], asked)
                    if len(metrics) >= 2 * CHECK_EVERY:  # bounds the batches that wait on the device
                        read += self.trainer.read_all(metrics[:CHECK_EVERY])
                        del metrics[:CHECK_EVERY]
                read += self.trainer.read_all(metrics)
        finally:
            batches.close()
            self._book("evaluation_seconds", time.perf_counter() - begin, first, len(counts))
        loss, correct = np.sum(read, axis=0)
        return float(loss / feed.count), float(correct / feed.count)
