"""The machine's description, the state of the code and this process's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.measure import machine

ROOT = Path(__file__).parents[1]


def test_the_machine_is_described_within_its_limits():
    described = machine.describe_machine()
    assert described["cpu"]
    assert described["python"] == ".".join(map(str, sys.version_info[:3]))
    assert 1 <= described["cores"] <= described["logical_cores"]
    assert 1 <= described["usable_cores"] <= described["logical_cores"]
    assert described["memory_bytes"] > 2**27
    assert described["gpu"] is None
    assert 1 <= machine.default_threads() <= described["cores"]


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_usable_cores_follow_the_affinity():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from bench.measure import machine; print(machine.usable_cores(), machine.default_threads())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


@pytest.mark.parametrize(
    "files, quota",
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_control_groups_quota(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.cgroup_cpu_quota(tmp_path) == quota


def _project(folder: Path) -> Path:
    (folder / "ssm").mkdir(parents=True)
    (folder / "ssm" / "a.py").write_text("a = 1\n")
    (folder / "run.py").write_text("r = 1\n")
    return folder


def test_the_code_hash_sees_content_and_names_and_not_the_place(tmp_path):
    first, second = _project(tmp_path / "one"), _project(tmp_path / "two")
    hash_of = lambda root: machine.code_hash([root / "ssm", root / "run.py"])  # noqa: E731
    before = hash_of(first)
    assert before == hash_of(second) == machine.code_hash([first / "run.py", first / "ssm"])
    (second / "ssm" / "__pycache__").mkdir()
    (second / "ssm" / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert hash_of(second) == before
    (second / "ssm" / "a.py").write_text("a = 2\n")
    assert hash_of(second) != before
    (second / "ssm" / "a.py").rename(second / "ssm" / "b.py")
    (second / "ssm" / "b.py").write_text("a = 1\n")
    assert hash_of(second) != before
    with pytest.raises(ValueError, match="does not exist"):
        machine.code_hash([tmp_path / "absent"])


def test_code_state_knows_commit_and_dirt(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    root = _project(tmp_path / "project")
    assert machine.code_state(root) | {"hash": ""} == {"commit": None, "dirty": None, "hash": ""}
    git = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    clean = machine.code_state(root)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (root / "results").mkdir()
    (root / "results" / "r.json").write_text("{}")
    assert machine.code_state(root) == clean  # results are no code
    (root / "ssm" / "new.py").write_text("")
    changed = machine.code_state(root)
    assert changed["dirty"] is True
    assert changed["hash"] != clean["hash"]


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    state = machine.code_state(_project(tmp_path / "project"))
    assert state["commit"] is None
    assert state["dirty"] is None


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script plays nvidia-smi")
@pytest.mark.parametrize("script, driver", [("echo 580.65.06; echo 580.65.06", "580.65.06"), ("echo no; exit 9", None)])
def test_the_gpu_driver_is_what_nvidia_smi_says(tmp_path, monkeypatch, script, driver):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpu_driver() == driver


def test_without_nvidia_smi_there_is_no_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpu_driver() is None


def test_versions_are_read_without_importing():
    code = """
import sys
from bench.measure import machine
print(machine.package_versions(["torch", "no-such-thing"]))
print([name for name in ("torch", "jax", "flax", "optax", "wandb") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    versions, imported = done.stdout.splitlines()
    assert "'no-such-thing': None" in versions
    assert imported == "[]"


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is restarted through /proc")
def test_the_resident_peak_sees_memory_that_is_gone_and_starts_anew():
    code = """
from bench.measure import machine
base = machine.resident_bytes()
block = bytearray(200 * 2**20)
del block
peak = machine.peak_resident_bytes() - base
worked = machine.reset_peak()
print(peak, worked, machine.peak_resident_bytes() - base)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    peak, worked, after = done.stdout.split()
    assert 195 * 2**20 < int(peak) < 230 * 2**20
    if worked == "True":
        assert int(after) < 50 * 2**20
