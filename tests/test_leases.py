"""Leases of cores with real processes: who holds them, who waits, and that a killed owner frees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ROOT

from bench.runs.leases import alone, lease, usable_cores

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no flock there")

HOLDER = """
import sys, time
from pathlib import Path
from bench.runs.leases import lease
count = None if sys.argv[2] == "all" else int(sys.argv[2])
with lease(count, sys.argv[3], folder=Path(sys.argv[1])) as held:
    print(*held.cores, flush=True)
    sys.stdin.read()
"""


def holder(folder: Path, count: str, purpose: str = "a run") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(folder), count, purpose]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def has_cores(process: subprocess.Popen[str], within: float) -> bool:
    """Whether it said within this time that it has its lease."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    until = time.monotonic() + within
    while time.monotonic() < until:
        if process.stdout.readline():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def processes():
    """A list; whatever is put into it is ended."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def free(folder: Path, count: int | None = None) -> bool:
    """Whether this process gets the cores within a moment."""

    class Waits(Exception):
        pass

    def say(text: str) -> None:
        raise Waits

    try:
        with lease(count, "a look", say, folder):
            return True
    except Waits:
        return False


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("bench.runs.leases.SAY_AFTER_SECONDS", 0.3)


def test_all_cores_or_as_many_as_are_asked_for(tmp_path):
    with lease(None, "a timing", folder=tmp_path) as held:
        assert held.cores == usable_cores()
        assert len(held.files) == len(held.cores)
    with lease(1, "a training", folder=tmp_path) as held:
        assert held.cores == usable_cores()[:1]
    with lease(10_000, "a training", folder=tmp_path) as held:
        assert held.cores == usable_cores()


def test_a_timing_waits_for_a_training_and_a_training_for_a_timing(tmp_path, processes):
    processes.append(holder(tmp_path, "1", "s4 torch digits train"))
    assert has_cores(processes[0], 30)
    assert not free(tmp_path)
    processes[0].communicate("")
    processes.append(holder(tmp_path, "all"))
    assert has_cores(processes[1], 30)
    assert not free(tmp_path, 1)
    processes[1].communicate("")
    assert free(tmp_path)


@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
def test_two_small_runs_share_the_machine_and_no_core(tmp_path):
    with lease(1, "one", folder=tmp_path) as one, lease(1, "two", folder=tmp_path) as two:
        assert not set(one.cores) & set(two.cores)


def test_a_killed_owner_frees_its_cores(tmp_path, processes):
    processes.append(holder(tmp_path, "all"))
    assert has_cores(processes[0], 30)
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    assert free(tmp_path)


def test_a_child_that_was_handed_the_files_keeps_the_cores_taken(tmp_path, processes):
    with lease(None, "a timing", folder=tmp_path) as held:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=held.files, text=True
        )
        processes.append(child)
    assert not free(tmp_path)
    child.communicate("\n")
    assert free(tmp_path)


def test_who_waits_longest_at_the_gate_is_not_overtaken(tmp_path, processes):
    """A timing waits for one core; a small run that comes later does not get the other one before it."""
    if len(usable_cores()) < 2:
        pytest.skip("needs two cores")
    processes += [holder(tmp_path, "1", "first")]
    assert has_cores(processes[0], 30)
    processes += [holder(tmp_path, "all", "a timing")]
    assert not has_cores(processes[1], 2)
    processes += [holder(tmp_path, "1", "late")]
    assert not has_cores(processes[2], 2)
    processes[0].communicate("")
    assert has_cores(processes[1], 30)
    assert not has_cores(processes[2], 0.5)
    processes[1].communicate("")
    assert has_cores(processes[2], 30)


def test_who_waits_says_for_whom(tmp_path, processes):
    processes.append(holder(tmp_path, "all", "s5 jax digits time"))
    assert has_cores(processes[0], 30)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        processes[0].communicate("")  # enough: let it through

    with lease(1, "s4 torch digits train", say, tmp_path):
        pass
    assert len(said) == 1
    assert "s4 torch digits train: waiting for 1 free core(s)" in said[0]
    assert f"s5 jax digits time (process {processes[0].pid})" in said[0]


def test_one_at_a_time_inside_a_named_place(tmp_path):
    inside: list[str] = []

    def say(text: str) -> None:
        inside.append("waits")
        raise RuntimeError

    with alone(tmp_path / "place", "first"):
        with pytest.raises(RuntimeError), alone(tmp_path / "place", "second", say):
            inside.append("second")
        with alone(tmp_path / "other", "third"):
            inside.append("third")
    assert inside == ["waits", "third"]
