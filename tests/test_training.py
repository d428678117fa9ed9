"""task=train with a NumPy trainer: learning, early stopping, best weights, divergence, interruption,
prefetching.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy_framework import Clock, NumpyTrainer, SlowTrainer, small_data

from bench.framework import Diverged, OptimiserSpec
from bench.workers import training
from bench.workers.training import hold_limit, train_task

SETTINGS = {
    "batch_size": 16,
    "epochs": 4,
    "steps": None,
    "length": None,
    "schedule": {"name": "constant"},
    "patience": None,
}


def train(trainer, data=None, seed=0, **changes):
    extra = {name: changes.pop(name) for name in ("hold_bytes", "on_epoch") if name in changes}
    result, ledger = {}, {"import_seconds": 1.0, "build_seconds": 2.0}
    settings = {**SETTINGS, **changes}
    train_task(trainer, data or small_data(), settings, result, seed=seed, ledger=ledger, progress=False, **extra)
    return result


def test_learns_and_fills_the_record():
    result = train(NumpyTrainer())
    assert result["accuracy"]["test"] > 0.85
    assert result["accuracy"]["validation"] > 0.85
    assert len(result["curve"]["step_loss"]) == 40
    assert result["curve"]["step_loss"][-1] < result["curve"]["step_loss"][0]
    assert [entry["epoch"] for entry in result["curve"]["epochs"]] == [1, 2, 3, 4]
    assert [entry["step"] for entry in result["curve"]["epochs"]] == [10, 20, 30, 40]
    assert set(result["ledger"]) == {
        *(
            "import_seconds",
            "build_seconds",
            "compile_seconds",
            "data_seconds",
            "step_seconds",
            "evaluation_seconds",
        )
    }
    assert all(value >= 0 for value in result["ledger"].values())
    assert result["timing"]["first_call_seconds"]["train_step"] > 0


def test_only_the_first_step_and_the_first_evaluation_are_waited_for():
    trainer = NumpyTrainer()
    train(trainer)
    assert trainer.waits == 2


def test_the_ledger_keeps_compilation_steps_and_evaluation_apart(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(training, "time", clock)

    class Compiling(NumpyTrainer):
        def train_step(self, batch, scale):
            clock.now += 10 if self.scales else 110
            return super().train_step(batch, scale)

        def evaluate(self, batch, count):
            clock.now += 5 if self.evaluated else 205
            return super().evaluate(batch, count)

    result = train(Compiling(), epochs=2)
    ledger = result["ledger"]
    assert ledger["compile_seconds"] == pytest.approx(300)
    assert ledger["step_seconds"] == pytest.approx(20 * 10)
    assert ledger["evaluation_seconds"] == pytest.approx((4 + 4 + 3) * 5)
    assert result["timing"]["first_call_seconds"] == pytest.approx({"train_step": 110, "evaluate": 205})


def test_what_picks_batches_is_compilation_the_first_time_and_waiting_afterwards(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(training, "time", clock)

    class Picking(NumpyTrainer):
        taken = 0

        def take(self, held, indices):
            clock.now += 1 if self.taken else 50
            self.taken += 1
            return super().take(held, indices)

    ledger = train(Picking(), steps=13, hold_bytes=10**9)["ledger"]
    assert ledger["compile_seconds"] == pytest.approx(50)
    assert ledger["data_seconds"] == pytest.approx(13)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, Diverged])
def test_the_ledger_keeps_the_seconds_of_an_epoch_that_was_cut_short(ending):
    trainer, ledger = SlowTrainer(), {}

    def end(step):
        if step == 15:
            raise ending

    trainer.before_step = end
    with pytest.raises(ending):
        train_task(trainer, small_data(), SETTINGS, {}, seed=0, ledger=ledger, progress=False)
    assert ledger["step_seconds"] + ledger["compile_seconds"] >= 0.15


def test_evaluation_counts_every_row_once_and_keeps_one_shape():
    trainer, data = NumpyTrainer(), small_data()
    result = train(trainer, data)
    assert set(trainer.evaluated) == {16}
    test = trainer.put(data.test.inputs, data.test.targets)
    losses, correct = trainer.evaluate(test, len(data.test.targets))
    assert result["accuracy"]["test"] == pytest.approx(correct / 37)
    assert result["loss"]["test"] == pytest.approx(losses / 37)


def test_steps_override_epochs_and_a_cut_epoch_is_validated():
    result = train(NumpyTrainer(), steps=13)
    assert [entry["step"] for entry in result["curve"]["epochs"]] == [10, 13]
    assert len(result["curve"]["step_loss"]) == 13


def test_schedule_drives_both_rates():
    trainer = NumpyTrainer()
    train(trainer, schedule={"name": "cosine", "warmup": 0.1, "final": 0.0})
    assert trainer.scales[0] == 0.25
    assert max(trainer.scales) == trainer.scales[4] == 1.0
    assert trainer.scales[-1] < 0.01


def test_plateau_lowers_the_rate_while_accuracy_stands_still():
    trainer = NumpyTrainer(optimiser=OptimiserSpec(rate=0.0))
    train(trainer, epochs=5, schedule={"name": "plateau", "factor": 0.5, "patience": 1})
    assert [trainer.scales[10 * epoch] for epoch in range(5)] == [1, 1, 1, 0.5, 0.5]


class Forgetful(NumpyTrainer):
    """Learns for 20 steps, then loses its weights."""

    def train_step(self, batch, scale):
        metrics = super().train_step(batch, scale)
        if len(self.scales) > 20:
            self.parameters["weight"] = -self.parameters["weight"]
        return metrics


def test_early_stopping_keeps_and_tests_the_best_weights():
    trainer, data = Forgetful(), small_data()
    result = train(trainer, data, epochs=50, patience=3)
    accuracies = [entry["validation_accuracy"] for entry in result["curve"]["epochs"]]
    best = int(np.argmax(accuracies))
    assert len(accuracies) == best + 1 + 3 < 50
    assert result["accuracy"]["validation"] == accuracies[best]
    assert any("stopped early" in note for note in result["notes"])
    validation = trainer.put(data.validation.inputs, data.validation.targets)
    assert trainer.evaluate(validation, 50)[1] / 50 == accuracies[best]
    assert result["accuracy"]["test"] > 0.85


class Exploding(NumpyTrainer):
    """Its loss is `value` from step `at` on (counted from 1)."""

    at, value = 7, math.nan

    def train_step(self, batch, scale):
        loss, correct = super().train_step(batch, scale)
        return (self.value if len(self.scales) >= self.at else loss), correct


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_curve(value):
    trainer, result = Exploding(), {}
    trainer.value = value
    with pytest.raises(Diverged, match=r"step 7 of 40.*all parameters are finite"):
        train_task(trainer, small_data(), SETTINGS, result, seed=0, ledger={}, progress=False)
    losses = result["curve"]["step_loss"]
    assert len(losses) == 7
    assert not math.isfinite(losses[-1])
    assert result["accuracy"]["test"] is None


class Undone(NumpyTrainer):
    """Its evaluations are NaN on the data set of `rows` rows; its steps are not."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def hold(self, inputs, targets):
        return *super().hold(inputs, targets), len(targets) == self.rows

    def take(self, held, indices):
        return *super().take(held[:2], indices), held[2]

    def train_step(self, batch, scale):
        return super().train_step(batch[:2], scale)

    def evaluate(self, batch, count):
        loss, correct = super().evaluate(batch[:2], count)
        return (math.nan if batch[2] else loss), correct


@pytest.mark.parametrize(("rows", "name", "epochs"), [(50, "validation loss", 1), (37, "test loss", 4)])
def test_an_evaluation_that_is_not_finite_is_a_divergence(rows, name, epochs):
    result = {}
    with pytest.raises(Diverged, match=f"{name} is nan"):
        train_task(Undone(rows), small_data(), SETTINGS, result, seed=0, ledger={}, progress=False)
    assert len(result["curve"]["epochs"]) == epochs
    assert result["accuracy"]["test"] is None
    assert (result["accuracy"]["validation"] is None) == (epochs == 1)


def test_divergence_is_seen_long_before_a_long_epoch_ends():
    trainer = Exploding()
    data = small_data()
    long = dataclasses.replace(
        data.train, inputs=np.tile(data.train.inputs, (20, 1, 1)), targets=np.tile(data.train.targets, 20)
    )
    with pytest.raises(Diverged):
        train(trainer, dataclasses.replace(data, train=long), batch_size=4, epochs=1)
    assert len(trainer.scales) <= 101


def test_ctrl_c_keeps_what_was_done():
    trainer, result = NumpyTrainer(), {}

    def interrupt(step):
        if step == 25:
            raise KeyboardInterrupt

    trainer.before_step = interrupt
    with pytest.raises(KeyboardInterrupt):
        train_task(trainer, small_data(), SETTINGS, result, seed=0, ledger={}, progress=False)
    assert len(result["curve"]["step_loss"]) == 25
    assert len(result["curve"]["epochs"]) == 2
    assert result["accuracy"]["validation"] is not None
    assert result["accuracy"]["test"] is None


def test_prefetched_and_held_data_train_alike():
    held, prefetched = NumpyTrainer(), NumpyTrainer()
    first, second = train(held), train(prefetched, hold_bytes=0)
    assert held.held == 3
    assert prefetched.held == 0
    assert first["curve"]["step_loss"] == second["curve"]["step_loss"]
    assert first["accuracy"] == second["accuracy"]


def test_same_seed_same_curve_other_seed_other_curve():
    curves = [train(NumpyTrainer(), seed=seed)["curve"]["step_loss"] for seed in (0, 0, 1)]
    assert curves[0] == curves[1] != curves[2]


def test_length_is_cut_and_tiled():
    shapes = []

    class Shapes(NumpyTrainer):
        def train_step(self, batch, scale):
            shapes.append(batch[0].shape)
            return super().train_step(batch, scale)

    train(Shapes(), length=4, steps=1)
    train(Shapes(), length=9, steps=1)
    assert shapes == [(16, 4, 3), (16, 9, 3)]


def test_on_epoch_hears_each_epoch():
    heard = []
    result = train(NumpyTrainer(), on_epoch=heard.append)
    assert heard == result["curve"]["epochs"]


def test_progress_bar_shows_loss_accuracy_and_rate(capsys):
    train_task(NumpyTrainer(), small_data(), SETTINGS, {}, seed=0, ledger={}, progress=True)
    shown = capsys.readouterr().err
    assert "loss=" in shown
    assert "accuracy=" in shown
    assert "rate=" in shown


def test_hold_limit():
    assert hold_limit({"kind": "cpu", "memory_bytes": None}) == 2**30
    assert hold_limit({"kind": "gpu", "memory_bytes": 80 * 2**30}) == 20 * 2**30
