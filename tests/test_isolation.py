"""One framework a process: the parent imports none, a worker one, and a stranger in a worker is an error."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from commands import CONF, EAGER, NUMPY_WORKER, ROOT, TINY, composed, status_of, tiny_run
from test_run import record_of

from bench.framework import FRAMEWORKS, Framework
from bench.runs import run as runs
from bench.runs.choices import choices
from bench.workers.environment import environment

PACKAGES = sorted({package for framework in FRAMEWORKS.values() for package in framework.packages})


def test_every_framework_that_can_be_chosen_is_one_that_the_bench_knows():
    assert set(choices(CONF, "framework")) == set(FRAMEWORKS)
    assert all(composed(f"framework={name}")["framework"]["compile"] in FRAMEWORKS[name].modes for name in FRAMEWORKS)
    assert {path.name for path in ROOT.glob("models_*")} == {f"models_{name}" for name in FRAMEWORKS}


def python(code: str, cwd) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_parent_of_a_whole_run_imports_no_framework(tmp_path):
    """Its workers end without records: it writes them, and sums up, after the certificate's and the run's part."""
    code = f"""
import sys
import run
from bench.runs import run as runs
runs.worker_command = lambda tree: [sys.executable, "-c", "raise SystemExit(3)"]
status = run.main({[*TINY, *EAGER]!r})
print(status, [name for name in {PACKAGES!r} if name in sys.modules])
"""
    assert python(code, tmp_path).splitlines()[-1] == "1 []"
    record = record_of(tmp_path / "results")
    assert "exit status 3" in record["message"]
    assert "no certificate" in record["notes"][0]


def test_what_a_worker_needs_before_its_adapter_imports_no_framework(tmp_path):
    code = f"import bench.workers.worker, sys; print([m for m in {PACKAGES!r} if m in sys.modules])"
    assert python(code, tmp_path).strip() == "[]"


@pytest.mark.parametrize("stranger, trainer", [("psutil", "NumpyTrainer"), ("stranger", "Careless")])
def test_a_worker_that_finds_another_framework_fails(tmp_path, monkeypatch, stranger, trainer):
    """psutil, which the bench needs, plays the other framework; or a module that comes in later."""
    run = tiny_run(tmp_path, worker=[*NUMPY_WORKER, trainer])
    others = {**FRAMEWORKS, "jax": Framework((stranger,), FRAMEWORKS["jax"].modes)}
    monkeypatch.setattr(runs, "FRAMEWORKS", others)
    assert status_of(run) == "failed"
    record = record_of(tmp_path)
    assert f"{stranger} was imported beside torch" in record["message"]


def test_a_worker_without_a_job_says_what_it_is_for(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "--worker"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "for run.py itself" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_thread_pool_gets_the_same_number():
    variables = environment(3, "cpu", "fp32", {})
    pools = {name: value for name, value in variables.items() if "THREADS" in name or name == "NPROC"}
    assert set(pools.values()) == {"3"}
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC"} <= set(pools)


def test_the_user_s_variables_stay_unless_they_are_ours():
    variables = environment(1, "cpu", "fp32", {"HOME": "/h", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "9"})
    assert variables["HOME"] == "/h"
    assert variables["MALLOC_ARENA_MAX"] == "2"
    assert variables["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("device, platforms, visible", [("cpu", "cpu", ""), ("gpu", "cuda", None)])
def test_the_device_is_chosen_for_both_frameworks(device, platforms, visible):
    variables = environment(1, device, "fp32", {})
    assert variables.get("JAX_PLATFORMS") == platforms
    assert variables.get("CUDA_VISIBLE_DEVICES") == visible
    assert variables["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_double_precision_is_switched_on_only_where_it_is_asked_for():
    assert environment(1, "cpu", "fp64", {})["JAX_ENABLE_X64"] == "1"
    assert environment(1, "cpu", "fp32", {"JAX_ENABLE_X64": "1"})["JAX_ENABLE_X64"] == "0"


def test_programs_are_kept_between_runs_only_where_asked(tmp_path):
    caches = {"JAX_COMPILATION_CACHE_DIR": "/j", "TORCHINDUCTOR_CACHE_DIR": "/t"}
    variables = environment(1, "cpu", "fp32", caches)
    assert not caches.keys() & variables.keys()
    assert variables["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] == "1"
    variables = environment(1, "cpu", "fp32", variables, str(tmp_path))
    assert "TORCHINDUCTOR_FORCE_DISABLE_CACHES" not in variables
    for name in caches:
        assert variables[name].startswith(str(tmp_path))
