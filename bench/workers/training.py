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
from bench.workers.finite import described, first_not_finite
from bench.workers.schedules import schedule
from datasets.batches import Prefetcher, at_length, epoch_order, evaluation_batches
from settings.problem import Problem
from settings.progress import LEAST_SECONDS, Counter

CHECK_EVERY = 50  # steps; those read are at least as many steps old, so that the device's queue never runs dry
CPU_HOLD_BYTES = 2**30
GPU_HOLD_SHARE = 0.25


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
) -> None:
    """Trains and fills result's sections accuracy, loss, curve, ledger, timing (first call only) and notes.

    trainer: built. data: datasets Dataset (train, validation, test). settings: task/train: batch_size,
    epochs, steps (overrides epochs), length (null: the data's own), schedule, patience; rates and clipping
    are the trainer's. result: filled while training: an interrupted or diverged run keeps its curve. ledger:
    seconds so far (import_seconds, build_seconds), to which compile_, data_, step_ and evaluation_seconds
    are added. on_epoch: is given each epoch's entry of the curve. progress: as Counter's `shown`. hold_bytes:
    hold_limit().
    Raises Diverged when a loss is NaN or infinite: a step's, the validation's or the test's; its message names the
    step and the first parameter that is not finite. Also before the first step, where a parameter starts so.
    """
    _Training(trainer, data, settings, result, seed, ledger, progress, on_epoch, hold_bytes).run()


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
    ) -> None:
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
            done, epoch = 0, 0
            while done < self.steps:
                order = epoch_order(train.count, self.batch_size, self.seed, epoch)[: self.steps - done]
                with voice.during(self.bar.text):
                    self._epoch(train, order, done)
                done, epoch = done + len(order), epoch + 1
                self._validate(validation, epoch, done, len(order))
                self._report_epoch(epoch)
                if self._out_of_patience() and done < self.steps:
                    self.notes.append(
                        f"stopped early: no better validation {self.selects.name} in {self.patience} epochs"
                    )
                    break
            self._test()

    def _figures(self) -> list[float]:
        """What chooses the best epoch, of each so far."""
        return [entry[f"validation_{self.selects.name}"] for entry in self.epochs]

    def _epoch(self, feed: _Feed, order: np.ndarray, done: int) -> None:
        """The steps of one epoch, queued; their losses read at its end."""
        self.epoch_begin = begin = time.perf_counter()
        figures = self._figures()
        waited = first = 0.0
        before = len(self.losses)
        batches = feed.batches(order)
        try:
            for step in range(done, done + len(order)):
                asked = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - asked
                self.scale = self.schedule(step, figures)
                asked = time.perf_counter()
                if step == 0:
                    with self.bar.voice.during("compiling the train step"):
                        compile_ahead(self.trainer, batch)
                        self.pending.append(self.trainer.train_step(batch, self.scale))
                        first = self._first_call("train_step", self.pending[0], asked)
                else:
                    self.pending.append(self.trainer.train_step(batch, self.scale))
                self.bar.update()
                if step == 0:
                    self.bar.restart()
                if len(self.pending) >= 2 * CHECK_EVERY:
                    self._read(CHECK_EVERY)
                if self.bar.due():
                    self._read(len(self.pending) // 2)  # the younger half keeps the device's queue from running dry
                    self.bar.report()
        finally:
            # Also on Ctrl-C: the steps that were taken belong to the curve, their seconds to the ledger.
            batches.close()
            try:
                self._read(len(self.pending))
            finally:
                seconds = time.perf_counter() - begin - waited
                self.ledger["data_seconds"] += waited
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
        if metrics:
            self._show()

    def _report_epoch(self, epoch: int) -> None:
        self._show()
        self.bar.report(f"epoch {epoch} of {math.ceil(self.steps / self.per_epoch)}", LEAST_SECONDS)

    def _show(self) -> None:
        accuracy = {"accuracy": f"{self.epochs[-1]['validation_accuracy']:.4f}"} if self.epochs else {}
        self.bar.show({"rate": f"x{self.scale:.3g}"}, loss=f"{self.losses[-1]:.4f}", **accuracy)

    def _validate(self, feed: _Feed, epoch: int, step: int, steps: int) -> None:
        loss, accuracy = self._evaluate(feed, f"validating after epoch {epoch}")
        entry = {
            "epoch": epoch,
            "step": step,
            "train_loss": float(np.mean(self.losses[-steps:])),
            "train_accuracy": float(np.sum(self.correct[-steps:]) / (steps * self.batch_size)),
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "rate_scale": self.scale,
            "seconds": time.perf_counter() - self.epoch_begin,
        }
        self.epochs.append(entry)
        self.result["loss"]["train"] = entry["train_loss"]
        self._must_be_finite(loss, "validation loss", f"after step {step} of {self.steps}")
        found = self._figures()[-1]
        if self.selects.better(found, than=self.best):
            self.best, self.best_state, self.best_epoch = found, self.trainer.state(), epoch
            self.result["accuracy"]["validation"], self.result["loss"]["validation"] = accuracy, loss
        if self.on_epoch is not None:
            self.on_epoch(entry)

    def _out_of_patience(self) -> bool:
        return self.patience is not None and self.epochs[-1]["epoch"] - self.best_epoch >= int(self.patience)

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
