"""Checkpoints: whole or absent, the last few kept, one format for both frameworks, and a training that goes on from one
ends as if it had never stopped, bit for bit.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import time

import jax.numpy as jnp
import numpy as np
import pytest
import test_adapters
import torch
from commands import EAGER, TINY, run, start
from numpy_framework import NumpyTrainer, small_data
from safetensors.numpy import load_file, save_file

import models_jax
import models_torch
from bench.framework import Diverged, OptimiserSpec
from bench.store import checkpoints
from bench.store.files import RecordError
from bench.store.records import read_records
from bench.workers import chance
from bench.workers.keeper import Keeper, split
from bench.workers.training import Stopped, train_task
from settings.errors import SettingError

STATE = {"finished": False, "losses": [1.0]}
ARRAYS = {"parameter.a": np.arange(6.0).reshape(2, 3), "count": np.asarray(3, np.int64)}
pytestmark = pytest.mark.usefixtures("settings_as_before")


# ---- files ----


def test_a_checkpoint_is_read_back(tmp_path):
    path = checkpoints.write(tmp_path, 3, ARRAYS, STATE, keep=2)
    found = checkpoints.read(path)
    assert found.state == {"version": 1, "step": 3, **STATE}
    assert found.arrays.keys() == ARRAYS.keys()
    assert all(np.array_equal(found.arrays[name], value) for name, value in ARRAYS.items())
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000003.safetensors"]


def test_the_last_few_are_kept(tmp_path):
    for step in (9, 10, 11, 100):
        checkpoints.write(tmp_path, step, ARRAYS, STATE, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000000011.safetensors",
        "step-000000100.safetensors",
    ]
    assert checkpoints.newest(tmp_path)[0].state["step"] == 100


@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 100, None])
def test_a_damaged_one_is_passed_over_for_the_one_before_it(tmp_path, damage):
    for step in (1, 2):
        last = checkpoints.write(tmp_path, step, ARRAYS, STATE, keep=2)
    last.write_bytes(last.read_bytes()[:-5] if damage is None else damage)
    found, warnings = checkpoints.newest(tmp_path)
    assert found.state["step"] == 1
    assert len(warnings) == 1
    assert str(last) in warnings[0]


def test_a_file_of_another_program_is_refused(tmp_path):
    path = tmp_path / "step-000000001.safetensors"
    save_file({"a": np.zeros(1)}, path)
    with pytest.raises(RecordError, match="not a whole checkpoint of ssm-bench"):
        checkpoints.read(path)
    save_file({"a": np.zeros(1)}, path, {"ssm-bench": json.dumps({"version": 99})})
    with pytest.raises(RecordError, match="another version"):
        checkpoints.read(path)


def test_what_others_leave_in_the_folder_is_left_alone(tmp_path):
    for name in ("notes.txt", "step-1.safetensors", ".step-000000001.safetensors.1.a.tmp"):
        (tmp_path / name).write_text("x")
    assert checkpoints.newest(tmp_path) == (None, [])
    assert checkpoints.newest(tmp_path / "absent") == (None, [])


def test_the_newest_unfinished_run_is_found(tmp_path):
    for run_id, finished in (("20250101T000000-a", False), ("20250102T000000-b", False), ("20250103T000000-c", True)):
        checkpoints.write(checkpoints.folder(tmp_path, "key", run_id), 1, ARRAYS, {**STATE, "finished": finished}, 1)
    assert checkpoints.unfinished(tmp_path, "key").name == "20250102T000000-b"
    assert checkpoints.unfinished(tmp_path, "other") is None


# ---- adapters ----


@pytest.mark.parametrize("framework", test_adapters.FRAMEWORKS)
@pytest.mark.parametrize("before", [0, 3])
def test_a_snapshot_is_gone_on_from_bit_for_bit(framework, before):
    spec = test_adapters.model_spec("s5", dropout=0.3, norm="batch")
    one, other = (test_adapters.build(framework, spec, precision="fp32", seed=5) for _ in range(2))
    for step in range(before):
        one.train_step(one.put(*test_adapters.data(step)), 1.0)
    snapshot = one.snapshot()
    assert snapshot["count"] == before
    continued = [one.read(one.train_step(one.put(*test_adapters.data(step)), 0.5)) for step in range(3)]
    other.resume(snapshot)
    assert [other.read(other.train_step(other.put(*test_adapters.data(step)), 0.5)) for step in range(3)] == continued
    after = other.snapshot()
    assert all(np.array_equal(value, after[name]) for name, value in one.snapshot().items())


@pytest.mark.parametrize("name", test_adapters.MODELS)
def test_a_snapshot_of_one_framework_is_gone_on_from_in_the_other(name):
    spec = test_adapters.model_spec(name, norm="batch")
    trainers = {framework: test_adapters.build(framework, spec) for framework in test_adapters.FRAMEWORKS}
    for first, second in (("torch", "jax"), ("jax", "torch")):
        one, other = trainers[first], trainers[second]
        for step in range(2):
            one.train_step(one.put(*test_adapters.data(step)), 1.0)
        snapshot = one.snapshot()
        other.resume({name: value for name, value in snapshot.items() if not name.startswith("random.")})
        batches = [(one.put(*test_adapters.data(step)), other.put(*test_adapters.data(step))) for step in range(3)]
        logits = [side.read_logits(side.forward(batch)) for side, batch in zip((one, other), batches[0], strict=True)]
        np.testing.assert_allclose(*logits, rtol=1e-9, atol=1e-12)
        losses = [(one.read(one.train_step(a, 1.0))[0], other.read(other.train_step(b, 1.0))[0]) for a, b in batches]
        np.testing.assert_allclose(*zip(*losses, strict=True), rtol=1e-9)


@pytest.mark.parametrize("framework", test_adapters.FRAMEWORKS)
def test_a_snapshot_of_another_network_is_refused_by_names_and_shapes(framework):
    own = test_adapters.build(framework, test_adapters.model_spec("s5"))
    with pytest.raises(ValueError, match=r"blocks\.1.* is on one side only"):
        own.resume(test_adapters.build(framework, test_adapters.model_spec("s5", n_blocks=2)).snapshot())
    with pytest.raises(ValueError, match=r"has shape \(\d+.*\) there and \(\d+.*\) here"):
        own.resume(test_adapters.build(framework, test_adapters.model_spec("s5", d_model=4)).snapshot())


# ---- training ----

LONG = ["task.epochs=4", "task.batch_size=64", "task.checkpoint_seconds=0.1", "certificate=skip", "model=s5"]
SETTINGS = {"batch_size": 16, "epochs": 4, "steps": None, "patience": 2, "schedule": {"name": "cosine"}}


class Killed(Exception):
    pass


def trained(place=None, checkpoint=None, die_at=None, seconds=0.0, **changes):
    """A result, and the trainer's state; every step's end is a checkpoint's unless seconds say otherwise."""
    trainer, result = NumpyTrainer(seed=3), {}

    def step(number):
        if number == die_at:
            raise Killed

    trainer.before_step = step
    keeper = None if place is None else Keeper(place, seconds, keep=2)
    settings = {**SETTINGS, **changes}
    arguments = dict(seed=1, ledger={"import_seconds": 1.0}, progress=False, keeper=keeper, checkpoint=checkpoint)
    train_task(trainer, small_data(), settings, result, **arguments)
    return result, trainer


def same(result, other):
    for part in ("accuracy", "loss"):
        assert result[part] == other[part]
    assert result["curve"]["step_loss"] == other["curve"]["step_loss"]
    assert len(result["curve"]["epochs"]) == len(other["curve"]["epochs"])
    for one, two in zip(result["curve"]["epochs"], other["curve"]["epochs"], strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}


@pytest.mark.parametrize("die_at", [1, 5, 9, 10, 11, 19, 20, 21, 39])  # an epoch has ten steps
def test_a_training_that_was_killed_ends_as_one_that_was_not(tmp_path, die_at):
    whole, trainer = trained()
    with pytest.raises(Killed):
        trained(tmp_path, die_at=die_at)
    found, _ = checkpoints.newest(tmp_path)
    assert found.state["step"] == die_at
    again, other = trained(tmp_path, found)
    same(whole, again)
    assert all(np.array_equal(value, other.state()[name]) for name, value in trainer.state().items())
    assert f"went on from step {die_at} of 40" in again["notes"]
    assert again["ledger"]["import_seconds"] > 1.9  # of both processes
    assert checkpoints.newest(tmp_path)[0].state["finished"]
    assert len(list(tmp_path.iterdir())) == 1


def test_early_stopping_goes_on_too(tmp_path):
    changes = {"patience": 1, "epochs": 30, "schedule": {"name": "plateau", "patience": 0}}
    whole, _ = trained(**changes)
    assert any("stopped early" in note for note in whole["notes"])
    with pytest.raises(Killed):
        trained(tmp_path, die_at=len(whole["curve"]["step_loss"]) - 3, **changes)
    again, _ = trained(tmp_path, checkpoints.newest(tmp_path)[0], **changes)
    same(whole, again)


def test_it_can_be_killed_again_and_again(tmp_path):
    whole, _ = trained()
    found, rng = None, random.Random(0)
    for _ in range(100):
        at = rng.randrange(1, 12)
        try:
            again, _ = trained(tmp_path, found, die_at=at)
        except Killed:
            found, warnings = checkpoints.newest(tmp_path)
            assert warnings == []
            continue
        break
    same(whole, again)
    assert sum("went on" in note for note in again["notes"]) == 1


def test_the_finished_checkpoint_holds_the_best_weights(tmp_path):
    _, trainer = trained(tmp_path, seconds=1e9)
    _, best = split(checkpoints.newest(tmp_path)[0])
    assert all(np.array_equal(best[name], value) for name, value in trainer.state().items())  # which the test was of


def test_a_time_limit_ends_it_in_good_order_with_a_checkpoint(tmp_path):
    with pytest.raises(Stopped, match=r"task.limit_seconds=1e-09 are over at step 1 of 40; .* resume=auto"):
        trained(tmp_path, seconds=1e9, limit_seconds=1e-9)
    again, _ = trained(tmp_path, checkpoints.newest(tmp_path)[0])
    same(trained()[0], again)


def test_a_checkpoint_that_cannot_be_written_is_said_and_ends_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    result, _ = trained(tmp_path / "file")
    same(trained()[0], result)
    assert any(note.startswith("checkpoint of step 1: ") for note in result["notes"])


def test_steps_of_a_training_that_diverges_are_in_no_checkpoint(tmp_path):
    class Bad(NumpyTrainer):
        def train_step(self, batch, scale):
            loss, correct = super().train_step(batch, scale)
            return (float("nan") if len(self.scales) == 7 else loss), correct

    keeper = Keeper(tmp_path, 0.0, 2)
    with pytest.raises(Diverged, match="at step 7 of 40"):
        train_task(Bad(), small_data(), SETTINGS, {}, seed=1, ledger={}, progress=False, keeper=keeper)
    assert checkpoints.newest(tmp_path)[0].state["step"] == 6


# ---- chance ----


def test_a_constant_s_loss_and_accuracy():
    found = chance.of_targets(np.array([0, 0, 1, 2]), 3)
    assert found.accuracy == 0.5
    assert found.loss == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(4))
    assert chance.of_targets(np.array([[0, -1], [1, -1]]), 2).loss == pytest.approx(np.log(2))


def test_what_has_learnt_something_is_not_at_chance():
    found = chance.of_targets(np.arange(10), 10)
    assert chance.at_epoch_end(found, 2.31, 0.114, 10_000) is None  # 4 standard deviations
    assert "accuracy 11.4% and loss 2.310" in chance.at_epoch_end(found, 2.31, 0.114, 1000)
    assert chance.at_epoch_end(found, 2.0, 0.1, 1000) is None
    assert chance.within_epoch(found, [2.31] * 999) is None
    assert "2.310 on average over steps 501 to 1,000" in chance.within_epoch(found, [2.31] * 1000)
    assert chance.within_epoch(found, [2.31] * 500 + [2.2] * 500) is None


def untaught():
    """Data whose targets have nothing to do with the inputs."""
    data = small_data()
    train, validation = (
        dataclasses.replace(part, targets=np.random.default_rng(0).permutation(part.targets))
        for part in (data.train, data.validation)
    )
    return dataclasses.replace(data, train=train, validation=validation)


@pytest.mark.parametrize("stop", [False, True])
def test_a_training_at_chance_says_so_and_ends_where_that_is_wished(stop):
    trainer, result = NumpyTrainer(optimiser=OptimiserSpec(rate=0.0)), {}
    settings = {**SETTINGS, "epochs": 30, "patience": None, "stop_at_chance": stop}
    arguments = dict(seed=1, ledger={}, progress=False)
    if stop:
        with pytest.raises(Stopped, match="at chance"):
            train_task(trainer, untaught(), settings, result, **arguments)
        assert len(trainer.scales) < 300
    else:
        train_task(trainer, untaught(), settings, result, **arguments)
    assert sum("at chance" in note for note in result["notes"]) == 1


# ---- the library ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The checkpoints of a finished training of S5 in each framework."""
    found = {}
    for framework in test_adapters.FRAMEWORKS:
        folder = tmp_path_factory.mktemp(framework)
        words = [*TINY, *LONG[1:], f"framework={framework}", "task.epochs=1", "model.norm=batch"]
        done = run(*words, *(["framework.compile=none"] if framework == "torch" else []), cwd=folder)
        assert done.returncode == 0, done.stderr
        (found[framework],) = folder.rglob("*.safetensors")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("made_in", test_adapters.FRAMEWORKS)
def test_what_one_framework_has_trained_the_other_loads(finished, made_in):
    """The same logits, to float32's round-off."""
    x = np.random.default_rng(0).standard_normal((3, 64, 1)).astype(np.float32)
    one = models_torch.S5Model.from_checkpoint(finished[made_in]).eval()
    other = models_jax.S5Model.from_checkpoint(finished[made_in])
    with torch.no_grad():
        logits = one(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(logits, np.asarray(other(jnp.asarray(x))), rtol=1e-4, atol=1e-5)
    arrays = load_file(finished[made_in])
    assert np.array_equal(one.state_dict()["decoder.weight"].numpy(), arrays["best.decoder.weight"])
    initial = models_torch.S5Model(1, 8, 10, 1, 8, 64, norm="batch").eval()
    with torch.no_grad():
        assert not np.allclose(initial(torch.from_numpy(x)).numpy(), logits, atol=1e-3)


@pytest.mark.slow
def test_another_model_s_class_and_another_file_are_refused(finished, tmp_path):
    for library in (models_torch, models_jax):
        with pytest.raises(SettingError, match=r"holds a network of s5, not of s4; use S5Model\.from_checkpoint"):
            library.S4Model.from_checkpoint(finished["jax"])
        (tmp_path / "x").write_bytes(b"\x80\x04.")  # a pickle is not opened
        with pytest.raises(SettingError, match="is no whole checkpoint"):
            library.S4Model.from_checkpoint(tmp_path / "x")


# ---- the command ----


def weights(folder):
    """The arrays of the newest finished checkpoint below a results folder."""
    paths = sorted((folder / "results" / "checkpoints").rglob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    return load_file(paths[-1])


def last_step(folder):
    """The name of the newest checkpoint, empty where there is none."""
    return max((path.name for path in folder.rglob("step-*.safetensors")), default="")


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_run_killed_twice_ends_with_the_weights_of_one_that_was_not(tmp_path, framework):
    words = [*TINY, *LONG, f"framework={framework}", "model.dropout=0.1"]
    words += ["framework.compile=none"] if framework == "torch" else []
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert run(*words, cwd=whole).returncode == 0
    for _ in range(2):
        seen = last_step(killed)
        process = start(*words, "resume=auto", cwd=killed)
        while last_step(killed) == seen and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, "it was over before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert run(*words, "resume=auto", cwd=killed).returncode == 0
    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(value, found[name]) for name, value in expected.items())
    records = [read_records(folder / "results")[0][-1] for folder in (whole, killed)]
    assert records[0]["curve"]["step_loss"] == records[1]["curve"]["step_loss"]
    assert records[0]["accuracy"] == records[1]["accuracy"]
    assert any("went on from step" in note for note in records[1]["notes"])


@pytest.mark.slow
def test_without_resume_a_command_measures_again(tmp_path):
    words = [*TINY, *EAGER, *LONG]
    stopped = run(*words, "task.limit_seconds=0.001", cwd=tmp_path)
    assert stopped.returncode == 1
    assert "stopped: task.limit_seconds" in stopped.stdout
    again = run(*words, cwd=tmp_path)
    assert again.returncode == 0
    (first, second), _ = read_records(tmp_path / "results")
    assert (first["status"], second["status"]) == ("stopped", "ok")
    assert not any("went on" in note for note in second["notes"])
