"""task=time: known durations come out, a real recompilation is an error, a short budget is said, phases
without a form too.
"""

from __future__ import annotations

import gc

import jax
import numpy as np
import pytest
import test_adapters
from commands import status_of, tiny_run
from local_worker import LocalWorker
from numpy_framework import Clock, NumpyTrainer, SlowTrainer, small_data
from test_records import full_record

from bench.framework import Diverged, OptimiserSpec, Recompiled
from bench.measure import stopwatch
from bench.store.records import read_records
from bench.store.schema import PHASES, RECORD, filled, validate
from bench.tasks import registry
from bench.tasks import time as plan
from bench.tasks.time import Settings
from bench.views.cells import cells
from settings.progress import Counter

SETTINGS = {
    "batch_size": 16, "length": None, "phases": ["train_step", "forward", "recurrent_step"],
    "processes": 1, "warmup": 2, "steps": 5, "rounds": 3, "single_steps": 4, "budget_seconds": 30,
}  # fmt: skip


def settings(**changes):
    optimiser = {
        **dict.fromkeys(("rate", "ssm_rate", "weight_decay", "beta1", "beta2"), 0.1),
        "eps": 1e-8,
        "groups": [],
        "accumulate": 1,
    }
    return Settings(name="time", optimiser=optimiser, clip_norm=None, **{**SETTINGS, **changes})


def planned(worker, **changes):
    """The plan's notes; what was measured stays with the worker."""
    notes = []
    own = settings(**changes)
    with Counter(len(own.phases) * own.rounds, "round", shown=False) as bar:
        plan.measure(worker, own, notes.append, bar)
    return notes


def measure(trainer, **changes):
    worker = LocalWorker(trainer)
    notes = planned(worker, **changes)
    return {**worker.sections(), "notes": notes}


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (plan, stopwatch):
        monkeypatch.setattr(module, "time", clock)
    return clock


class Timed(NumpyTrainer):
    """Its first step, and the others, take a known time on a clock that nothing else moves."""

    def __init__(self, clock, first=0.01, compilation=None):
        super().__init__()
        self.clock, self.first, self.compilation = clock, first, compilation

    def compile(self, batch):
        assert not self.scales  # before the first step
        self.clock.now += self.compilation or 0.0
        return self.compilation is not None

    def train_step(self, batch, scale):
        self.clock.now += 0.01 if self.scales else self.first
        return super().train_step(batch, scale)

    def forward(self, batch):
        self.clock.now += 0.01
        return super().forward(batch)


def test_real_time_is_measured():
    train = measure(SlowTrainer(), phases=["train_step"])["timing"]["train_step_seconds"]
    assert min(train["samples"] + train["single"]["samples"]) >= SlowTrainer.seconds


def test_a_known_duration_is_measured_back_to_back_and_singly(clock):
    result = measure(Timed(clock), phases=["train_step"])
    train = result["timing"]["train_step_seconds"]
    assert len(train["samples"]) == 3
    assert len(train["single"]["samples"]) == 4
    assert train["steps_per_round"] == 5
    assert train["samples"] == pytest.approx([0.01] * 3)
    assert train["single"]["samples"] == pytest.approx([0.01] * 4)
    assert result["throughput"]["samples_per_second"] == pytest.approx(16 / train["median"])
    assert result["throughput"]["tokens_per_second"] == pytest.approx(16 * 6 / train["median"])
    assert result["operations"] == {"forward_flops": 1.0}
    assert result["memory"]["peak_bytes"] > 0


@pytest.mark.parametrize("first, compilation", [(0.21, None), (0.01, 0.2)], ids=["first step", "ahead"])
def test_first_call_and_compilation_stand_apart(clock, first, compilation):
    timing = measure(Timed(clock, first, compilation), phases=["train_step"])["timing"]
    assert timing["first_call_seconds"]["train_step"] == pytest.approx(0.21)
    assert timing["compile_seconds"]["median"] == pytest.approx(0.2)
    assert timing["train_step_seconds"]["samples"] == pytest.approx([0.01] * 3)


def test_rounds_wait_once():
    trainer = SlowTrainer()
    measure(trainer, phases=["train_step"])
    # first call, 2 warm-up, 4 single, 3 rounds; 1 + 2 + 4 + 3 * 5 steps
    assert trainer.waits == 1 + 2 + 4 + 3
    assert len(trainer.scales) == 22


def test_a_round_of_short_calls_holds_more_of_them():
    assert measure(NumpyTrainer(), phases=["forward"])["timing"]["forward_seconds"]["steps_per_round"] > 5


def test_a_model_without_a_one_step_form_is_noted():
    result = measure(NumpyTrainer())
    assert result["timing"]["recurrent_step_seconds"] is None
    assert any("recurrent_step" in note and "no one-step form" in note for note in result["notes"])


def test_a_short_budget_still_takes_two_rounds_and_says_so():
    result = measure(SlowTrainer(), phases=["train_step"], rounds=50, steps=20, budget_seconds=0.6)
    train = result["timing"]["train_step_seconds"]
    assert 2 <= len(train["samples"]) < 50
    assert any("budget_seconds" in note for note in result["notes"])


def test_first_calls_are_not_in_the_budget(clock):
    result = measure(Timed(clock, first=1000.0), phases=["train_step", "forward"], budget_seconds=60)
    assert result["notes"] == []
    assert len(result["timing"]["train_step_seconds"]["samples"]) == 3
    assert len(result["timing"]["forward_seconds"]["samples"]) == 3
    assert result["timing"]["compile_seconds"]["median"] > 999


def test_batches_take_turns_and_are_the_same_for_everyone():
    seen = []

    class Watching(NumpyTrainer):
        def forward(self, batch):
            seen.append(batch[0].sum())
            return super().forward(batch)

    measure(Watching(), phases=["forward"])
    assert len(set(seen)) == 4
    assert seen[:4] == seen[4:8]
    first = seen[:4]
    seen.clear()
    measure(Watching(), phases=["forward"])
    assert seen[:4] == first


def test_collector_is_off_only_while_the_clock_runs():
    states = []

    class Watching(SlowTrainer):
        def train_step(self, batch, scale):
            states.append(gc.isenabled())
            return super().train_step(batch, scale)

    measure(Watching(), phases=["train_step"])
    assert gc.isenabled()
    assert states[1:3] == [True, True]
    assert not any(states[3:])


class JaxForward(NumpyTrainer):
    """Compiles for real; from call `change_at` on it is fed one row less, which XLA must compile anew."""

    change_at = 10**9

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.jitted = jax.jit(lambda x: (x * 2).sum())

    def forward(self, batch):
        self.calls += 1
        return self.jitted(batch[0][1:] if self.calls >= self.change_at else batch[0])

    def wait(self, handle):
        jax.block_until_ready(handle)

    def compilations(self):
        return self.jitted._cache_size()


@pytest.mark.parametrize("change_at", [5, 9])
def test_a_recompilation_inside_the_timed_part_is_an_error_naming_the_phase(change_at):
    trainer = JaxForward()
    trainer.change_at = change_at
    with pytest.raises(Recompiled, match="forward: 1 program"):
        measure(trainer, phases=["forward"])


def test_a_compilation_during_the_warm_up_is_none():
    trainer = JaxForward()
    trainer.change_at = 2
    assert np.isfinite(measure(trainer, phases=["forward"])["timing"]["forward_seconds"]["median"])


def test_an_interrupted_run_keeps_its_rounds():
    trainer = SlowTrainer()

    def interrupt(step):
        if step == 15:
            raise KeyboardInterrupt

    trainer.before_step = interrupt
    worker = LocalWorker(trainer)
    with pytest.raises(KeyboardInterrupt):
        planned(worker)
    assert len(worker.sections()["timing"]["train_step_seconds"]["samples"]) == 1


def test_an_unknown_phase_is_refused():
    with pytest.raises(ValueError, match=r"task\.phases='backward'"):
        settings(phases=["backward"])


class Diverging(NumpyTrainer):
    """Its weights become NaN or infinite in train step `at`, whose loss is the last finite one, or the first not so."""

    def __init__(self, at, value=np.nan):
        super().__init__()
        self.at, self.value = at, value

    def train_step(self, batch, scale):
        metrics = super().train_step(batch, scale)
        if len(self.scales) == self.at:
            self.parameters["weight"] *= self.value
        return metrics


# first call, 2 warm-up, 4 single, 3 rounds of 5 or more
@pytest.mark.parametrize("at, rounds", [(1, 0), (2, 0), (3, 0), (6, 0), (7, 0), (20, 1)])
def test_a_network_that_became_nan_is_diverged_with_the_step_and_its_rounds_before_are_kept(clock, at, rounds):
    class Trainer(Diverging, Timed):
        def __init__(self):
            Timed.__init__(self, clock)
            self.at, self.value = at, np.nan

    worker = LocalWorker(Trainer())
    with pytest.raises(Diverged, match=rf"train_step: loss is nan at step {at + 1}: .*task\.optimiser\.rate"):
        planned(worker)
    result = worker.sections()
    kept = result["timing"]["train_step_seconds"]
    assert (len(kept["samples"]) if kept else 0) == (2 if at == 20 else rounds)
    assert result["throughput"] is None


def test_one_infinite_loss_among_finite_ones_is_found():
    class Once(NumpyTrainer):
        def train_step(self, batch, scale):
            loss, correct = super().train_step(batch, scale)
            return (np.inf if len(self.scales) == 10 else loss), correct

    with pytest.raises(Diverged, match="loss is inf at step 10"):
        measure(Once(), phases=["train_step"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_diverged(value):
    class Broken(NumpyTrainer):
        def forward(self, batch):
            logits = super().forward(batch).copy()
            logits[-1, 0] = value
            return logits

    with pytest.raises(Diverged, match="forward: logits are not finite at step 1"):
        measure(Broken(), phases=["forward"])


def test_one_batch_in_turn_that_is_not_finite_is_found():
    class Broken(NumpyTrainer):
        def forward(self, batch):
            self.calls = getattr(self, "calls", -1) + 1
            return super().forward(batch) * (np.nan if self.calls % 4 == 3 else 1.0)

    with pytest.raises(Diverged, match="forward: logits are not finite at step 4"):
        measure(Broken(), phases=["forward"])


def test_a_recurrence_that_grows_without_bound_is_diverged():
    class Growing(NumpyTrainer):
        def start_recurrence(self, batch_size):
            self.recurrence = np.ones((batch_size, 3))

        def recurrent_step(self, inputs):
            with np.errstate(over="ignore"):
                self.recurrence = self.recurrence * 1e40
            return self.recurrence

    with pytest.raises(Diverged, match="recurrent_step: logits are not finite at step"):
        measure(Growing(), phases=["recurrent_step"])


def test_nothing_is_read_while_the_clock_runs(clock):
    """Reading takes an hour on this clock: no sample holds it."""

    class Slow(Timed):
        def read_all(self, metrics):
            self.clock.now += 3600.0
            return super().read_all(metrics)

        def read_logits(self, handle):
            self.clock.now += 3600.0
            return super().read_logits(handle)

    for phase in ("train_step", "forward"):
        found = measure(Slow(clock), phases=[phase], budget_seconds=1e9)["timing"][f"{phase}_seconds"]
        assert found["samples"] == pytest.approx([0.01] * 3)
        assert found["single"]["samples"] == pytest.approx([0.01] * 4)


def test_a_timed_run_that_diverges_says_so_in_its_record_and_is_no_measurement(tmp_path):
    words = ["task=time", "~task.steps", "+task.steps=2", "task.optimiser.rate=1e308", "task.phases=[train_step]"]
    assert status_of(tiny_run(tmp_path, *words)) == "diverged"
    (record,), damaged = read_records(tmp_path)
    assert damaged == []
    assert record["status"] == "diverged"
    assert "at step " in record["message"]
    assert registry.figures(record) == []
    assert list(cells([record], "time")["torch_status"].unique()) == ["diverged"]
    assert cells([record], "time")["torch_value"].isna().all()


@pytest.mark.usefixtures("settings_as_before")
@pytest.mark.parametrize("framework", test_adapters.FRAMEWORKS)
@pytest.mark.parametrize("precision, phases", [("fp32", PHASES), ("bf16", ("forward",))])
def test_both_frameworks_tell_a_network_that_is_nan(framework, precision, phases):
    data = small_data(channels=test_adapters.CHANNELS, length=test_adapters.LENGTH, classes=test_adapters.CLASSES)
    short = {"warmup": 0, "steps": 2, "rounds": 2, "single_steps": 1}
    trainer = test_adapters.build(framework, optimiser=OptimiserSpec(rate=1e-3), precision=precision)
    worker = LocalWorker(trainer, data)
    planned(worker, **short, phases=list(phases))
    assert all(worker.sections()["timing"][f"{phase}_seconds"]["median"] > 0 for phase in phases)
    state = trainer.state()
    state["decoder.bias"] = state["decoder.bias"] * np.nan
    for phase in phases:
        trainer.restore(state)
        with pytest.raises(Diverged, match=f"{phase}: (loss is nan|logits are not finite) at step 1:"):
            planned(LocalWorker(trainer, data), **short, phases=[phase])


def test_the_samples_of_each_process_are_kept_apart(tmp_path):
    folder = tmp_path / "results"
    words = [
        "task=time",
        "~task.steps",
        "+task.steps=2",
        "task.rounds=3",
        "task.processes=2",
        "task.phases=[train_step]",
    ]
    assert status_of(tiny_run(folder, *words)) == "ok"
    (found,), _ = read_records(folder)
    step = found["timing"]["train_step_seconds"]
    assert [len(own) for own in step["by_process"]] == [3, 3]
    assert step["samples"] == [*step["by_process"][0], *step["by_process"][1]]
    assert len(found["timing"]["compile_seconds"]["samples"]) == 2
    assert found["throughput"]["samples_per_second"] > 0


def test_processes_share_the_budget(tmp_path):
    folder = tmp_path / "results"
    words = ["task=time", "~task.steps", "+task.steps=1", "task.processes=2", "task.budget_seconds=0.001"]
    assert status_of(tiny_run(folder, *words)) == "ok"
    (found,), _ = read_records(folder)
    assert [len(own) for own in found["timing"]["train_step_seconds"]["by_process"]] == [2, 2]
    assert len([note for note in found["notes"] if "recurrent_step is not measured" in note]) == 1


def test_samples_that_are_not_those_of_the_processes_are_refused(tmp_path):
    found = filled(full_record(), RECORD)
    assert validate(found) == []
    found["timing"]["train_step_seconds"]["by_process"] = [[1.5], [2.5]]
    assert any("by_process" in problem for problem in validate(found))
