"""The parity path: errors worked by hand, zero gradients, both frameworks in their own processes,
certificates.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from local_worker import LocalWorker
from numpy_framework import NumpyTrainer

from bench.framework import Diverged, OptimiserSpec
from bench.measure import agreement
from bench.store import certificate
from bench.store.records import read_certificate, write_certificate
from bench.tasks import parity
from bench.workers.protocol import Trace
from bench.workers.remote import RunEnded

ROOT = Path(__file__).parents[1]
PARTS = dict(
    model={"name": "s5", "d_model": 8},
    problem={"d_input": 1, "d_output": 4, "length": 12},
    precision="fp64",
    optimiser={"rate": 1e-2},
    steps=10,
    batch_size=4,
    compile={"torch": "none", "jax": "default"},
    device="cpu",
    code="c0de",
    versions={"torch": "1", "jax": "2"},
)


def written(path, trainer=None, **changes):
    LocalWorker(trainer or NumpyTrainer()).ask(Trace(str(path), changes.get("steps", 12)))
    return path


def changed(source, target, name, change):
    with np.load(source) as file:
        tensors = dict(file)
    tensors[name] = change(tensors[name])
    np.savez(target, **tensors)
    return target


@pytest.fixture
def sides(tmp_path):
    return written(tmp_path / "a.npz"), written(tmp_path / "b.npz")


def test_two_equal_sides_have_no_error_and_all_groups(sides):
    errors = agreement.compare(*sides, "fp64")
    assert list(errors) == ["outputs", "logits", "loss", "gradients", "parameters_1", "parameters_10"]
    assert all(entry["error"] == 0 for entry in errors.values())
    assert agreement.passed(errors)


def test_steps_go_on_into_the_next_epoch(tmp_path):
    trainer = NumpyTrainer()
    written(tmp_path / "a.npz", trainer, steps=12)  # 10 batches an epoch
    assert trainer.scales == [1.0] * 12


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("output.encoder", "outputs"),
        ("logits", "logits"),
        ("loss", "loss"),
        ("gradient.bias", "gradients"),
        ("parameters_1.weight", "parameters_1"),
        ("parameters_10.bias", "parameters_10"),
    ],
)
def test_one_tensor_that_differs_fails_its_group_by_name(sides, tmp_path, name, group):
    other = changed(sides[1], tmp_path / "c.npz", name, lambda value: value * (1 + 1e-6))
    errors = agreement.compare(sides[0], other, "fp64")
    assert errors[group]["error"] == pytest.approx(1e-6, rel=1e-3)
    assert errors[group]["worst"] == name
    assert not agreement.passed(errors)
    assert [key for key, entry in errors.items() if entry["error"]] == [group]


def test_error_is_relative_to_the_norm_of_the_tensor():
    assert agreement.relative_error(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(0.5 / np.hypot(3, 4.5))
    assert agreement.relative_error(np.zeros(3), np.zeros(3)) == 0.0
    assert agreement.relative_error(np.zeros(3), np.full(3, 1e-100)) == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["logits", "gradient.weight", "parameters_1.bias"])
def test_what_is_not_finite_never_passes(sides, tmp_path, bad, name):
    other = changed(sides[1], tmp_path / "c.npz", name, lambda value: value * bad)
    assert not agreement.passed(agreement.compare(other, other, "fp64"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_left_out_of_the_comparison_must_be_finite_too(sides, tmp_path, bad):
    """A parameter whose gradient is round-off, and batch norm's statistics after the last step."""
    quiet = [
        changed(side, tmp_path / f"{index}.npz", "gradient.bias", lambda value: 1e-17 * value)
        for index, side in enumerate(sides)
    ]
    assert agreement.not_compared(*quiet, "fp64") == ["bias"]
    for name in ("parameters_1.bias", "parameters_10.bias"):
        broken = changed(quiet[1], tmp_path / "b.npz", name, lambda value: value + bad)
        assert not agreement.passed(agreement.compare(broken, broken, "fp64"))
    statistic = [tmp_path / "c.npz", tmp_path / "d.npz"]
    for path in statistic:
        with np.load(sides[0]) as file:
            np.savez(path, **file, **{"parameters_10.norm.mean": np.array([bad])})
    assert not agreement.passed(agreement.compare(*statistic, "fp64"))


def test_a_side_whose_loss_is_not_finite_has_diverged_with_the_step(tmp_path):
    trainer = NumpyTrainer()

    def spoil(step):
        if step == 4:
            trainer.parameters["weight"] *= np.nan

    trainer.before_step = spoil
    with pytest.raises(Diverged, match="loss is nan at step 5 of 12"):
        written(tmp_path / "a.npz", trainer)
    assert not (tmp_path / "a.npz").exists()


def test_what_a_comparison_says_whose_sides_did_not_both_end():
    nan, failed = RunEnded("diverged", "loss is nan at step 3"), RunEnded("failed", "why")
    assert parity.unfinished({"torch": nan, "jax": nan}, ("torch", "jax")).status == "diverged"
    one_sided = parity.unfinished({"jax": nan}, ("torch", "jax"))
    assert one_sided.status == "diverged"
    assert str(one_sided) == "jax: loss is nan at step 3; torch reached its end"
    assert str(parity.unfinished({"torch": failed}, ("torch", "jax"))) == "torch: why; jax reached its end"


def test_a_difference_that_is_not_finite_is_said_so_before_and_after_a_file(sides, tmp_path):
    broken = changed(sides[0], tmp_path / "c.npz", "logits", lambda value: value * np.nan)
    write_certificate(made := certified((broken, broken), "a" * 64), tmp_path)
    for one in (made, certificate.find(tmp_path, "a" * 64)):
        assert not one["passed"]
        assert certificate.differences(one) == "the frameworks differ: logits not finite (logits)"


def test_a_gradient_of_round_off_is_not_compared_and_is_named(sides, tmp_path):
    rng = np.random.default_rng(0)

    def with_noise(source, path, size):
        path = changed(source, path, "gradient.bias", lambda value: size * rng.standard_normal(value.shape))
        return changed(path, path, "parameters_1.bias", lambda value: value + 1e-2 * rng.standard_normal(value.shape))

    noisy = [with_noise(side, tmp_path / f"{index}.npz", 1e-17) for index, side in enumerate(sides)]
    assert agreement.not_compared(*noisy, "fp64") == ["bias"]
    assert agreement.passed(agreement.compare(*noisy, "fp64"))
    # On one side only it is an error, and so is a small gradient that is above the round-off.
    assert agreement.not_compared(noisy[0], sides[1], "fp64") == []
    assert not agreement.passed(agreement.compare(noisy[0], sides[1], "fp64"))
    small = [with_noise(side, tmp_path / f"small{index}.npz", 1e-12) for index, side in enumerate(sides)]
    assert not agreement.passed(agreement.compare(*small, "fp64"))


def test_sides_that_do_not_match_are_refused(sides, tmp_path):
    with pytest.raises(ValueError, match="bias: shapes"):
        agreement.compare(
            sides[0], changed(sides[1], tmp_path / "c.npz", "gradient.bias", lambda value: value[:1]), "fp64"
        )
    with np.load(sides[1]) as file:
        np.savez(tmp_path / "d.npz", **file, extra=np.zeros(1))
    with pytest.raises(ValueError, match="extra"):
        agreement.compare(sides[0], tmp_path / "d.npz", "fp64")
    with pytest.raises(ValueError, match="precision='fp8'"):
        agreement.compare(*sides, "fp8")


def test_bounds_promised():
    assert set(agreement.BOUNDS["fp64"].values()) == {1e-9}
    fp32 = agreement.BOUNDS["fp32"]
    assert fp32["outputs"] == fp32["logits"] == fp32["loss"] == fp32["gradients"] == 1e-4
    assert fp32["parameters_1"] == 1e-3


def test_key_changes_with_each_part_but_not_with_dropout():
    key = certificate.certificate_key(**PARTS)
    assert key == certificate.certificate_key(**PARTS | {"model": {"dropout": 0.3, **PARTS["model"]}})
    others = [
        {"model": {"name": "s5", "d_model": 16}},
        {"problem": {"channels": 1, "classes": 4, "length": 13}},
        {"precision": "fp32"},
        {"optimiser": {"rate": 2e-2}},
        {"steps": 1},
        {"batch_size": 2},
        {"compile": {"torch": "default", "jax": "default"}},
        {"device": "gpu"},
        {"code": "d00d"},
        {"versions": {"torch": "1", "jax": "3"}},
        {"variables": {"OMP_WAIT_POLICY": "active"}},
    ]
    keys = {certificate.certificate_key(**PARTS | other) for other in others}
    assert len(keys | {key}) == len(others) + 1


KEY = "a" * 64


def certified(sides, key):
    errors = agreement.compare(*sides, "fp64")
    compared = {"passed": agreement.passed(errors), "not_compared": agreement.not_compared(*sides, "fp64")}
    of = dict(key=key, model="s5", config={"steps": 12}, precision="fp64", code="c0de" * 16, versions={"torch": "1"})
    return certificate.make(errors, **compared, **of, machine={"cpu": "x"})


def test_certificate_is_written_found_and_summed_up(sides, tmp_path):
    key = certificate.certificate_key(**PARTS)
    assert certificate.find(tmp_path / "none", key) is None
    made = certified(sides, key)
    write_certificate(made, tmp_path)
    write_certificate(certified(sides, "b" * 64), tmp_path)
    found = certificate.find(tmp_path, key)
    assert found == read_certificate(tmp_path, made["id"])
    assert found["passed"]
    assert found["error"] == 0.0
    assert found["config"] == {"steps": 12, "not_compared": []}
    summed = certificate.for_record(found)
    assert summed == {"id": made["id"], "error": 0.0, "bound": 1e-9, "precision": "fp64", "passed": True}
    assert certificate.for_record(None) is None


def test_a_failed_certificate_is_kept_and_the_newest_counts(sides, tmp_path):
    other = changed(sides[1], tmp_path / "c.npz", "logits", lambda value: value * 1.1)
    write_certificate(certified((sides[0], other), KEY), tmp_path)
    assert not certificate.find(tmp_path, KEY)["passed"]
    write_certificate(certified(sides, KEY), tmp_path)
    assert certificate.find(tmp_path, KEY)["passed"]


SIDE = """
import importlib, sys
framework, path, model, precision = sys.argv[1:]
sys.path[:0] = {path!r}
from numpy_framework import small_data
from bench.framework import ModelSpec, OptimiserSpec
from local_worker import LocalWorker
from bench.workers.protocol import Trace
from ssm.network import initial, network_options, ssm_parameter_names
options = network_options(model, 3, 3, 6, dict(d_model=8, n_blocks=1, n=8, norm="batch"))
spec = ModelSpec(model, options, initial(options, 0), ssm_parameter_names(options))
adapter = importlib.import_module(f"models_{{framework}}.adapter").adapter(
    "cpu", precision, 1, {{"torch": "none", "jax": "default"}}[framework])
assert not {{"torch", "jax"}} - {{framework}} & set(sys.modules)
trainer = adapter.build(spec, OptimiserSpec(), 0)
LocalWorker(trainer, small_data(), batch_size=4).ask(Trace(path, 10))
"""


@pytest.mark.parametrize(("model", "precision"), [("s4", "fp64")])  # the others: tests/test_run.py
def test_each_framework_in_its_own_process_agrees_with_the_other(tmp_path, model, precision):
    script = SIDE.format(path=[str(ROOT), str(ROOT / "tests")])
    environment = {
        **os.environ,
        "JAX_ENABLE_X64": "1" if precision == "fp64" else "0",
        "JAX_PLATFORMS": "cpu",
    }
    paths = [tmp_path / f"{framework}.npz" for framework in ("torch", "jax")]
    runs = [
        subprocess.Popen([sys.executable, "-c", script, path.stem, path, model, precision], env=environment)
        for path in paths
    ]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    errors = agreement.compare(*paths, precision)
    assert agreement.passed(errors), errors


def test_optimiser_settings_are_checked():
    for changes, named in [
        ({"rate": -1}, "rate=-1"),
        ({"beta1": 1.0}, "beta1=1.0"),
        ({"clip_norm": 0}, "clip_norm=0"),
    ]:
        with pytest.raises(ValueError, match=named):
            OptimiserSpec(**changes)
