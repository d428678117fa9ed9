"""run.py from the command line: help, one sweep of every task whose records are looked at, and runs that die.

Sizes are tiny; what a model learns is tested elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from commands import CONF, EAGER, NUMPY_WORKER, TINY, WORKER, composed, joined, run, start, status_of, tiny_run

from bench.runs import job
from bench.runs import run as runs
from bench.runs.choices import choices
from bench.runs.interrupts import held_back
from bench.store import records
from bench.store.files import RecordError
from bench.store.outcome import Outcome
from bench.views.summary import of_run
from bench.workers.children import Child, Ending
from bench.workers.lines import encode
from bench.workers.protocol import Build, Request
from run import Session

SHORT = ["task.batch_size=64", "threads=1"]  # two threads wait for each other where tests share the cores
FRAMEWORKS = choices(CONF, "framework")


def record_of(folder: Path, **fields) -> dict:
    """The one record of a folder whose flat fields have these values."""
    found, damaged = records.read_records(folder)
    assert not damaged
    found = [record for record in found if all(record[name] == value for name, value in fields.items())]
    assert len(found) == 1, [record["id"] for record in found]
    return found[0]


def orphan(folder: Path) -> Build:
    """What a worker builds that will have to write its record itself."""
    run = tiny_run(folder)
    return replace(run.request(), record=run.record, results_dir=str(folder))


def test_help_answers_within_a_second(tmp_path):
    best = 60.0
    for _ in range(3):  # the best of three: another test may hold the processor
        begin = time.perf_counter()
        done = run("--help", cwd=tmp_path)
        best = min(best, time.perf_counter() - begin)
    assert done.returncode == 0
    assert "model=" in done.stdout
    assert "examples" in done.stdout
    assert best < 1.0
    assert list(tmp_path.iterdir()) == []


def test_hydra_shows_the_configuration_and_leaves_no_file(tmp_path):
    done = run("model=s5", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0
    assert "c_init: trunc_standard_normal" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    """Training and timing in PyTorch, training in JAX, into one results folder: it, and the finished commands."""
    folder = tmp_path_factory.mktemp("sweep")
    words = ["-m", "model=s5", "task.steps=6", *TINY, *SHORT]
    each = (["task=train,time", *EAGER], ["task=train", "framework=jax", "compile_cache=cache"])
    return folder, [run(*words, *own, cwd=folder) for own in each]


@pytest.mark.slow
def test_every_job_of_a_sweep_leaves_a_whole_record(sweeps):
    folder, commands = sweeps
    assert [done.returncode for done in commands] == [0, 0], commands
    found, damaged = records.read_records(folder / "results")
    assert damaged == []
    runs = sorted((record["framework"], record["task"]) for record in found)
    assert runs == [("jax", "train"), ("torch", "time"), ("torch", "train")]
    for record in found:
        assert record["status"] == "ok"
        assert records.validate(record) == []
        assert record["code"]["hash"]
        assert record["algorithm"] == "scan"
        assert record["parameters"]["count"] > 0
        assert record["data"]["length"] == 64
        assert record["data"]["train"] + record["data"]["validation"] + record["data"]["test"] == 1797
        assert record["ledger"]["import_seconds"] > 0
        assert record["ledger"]["build_seconds"] > 0
    # no outputs/, no multirun/
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "results"]
    assert any((folder / "cache" / "jax").iterdir())  # for later runs


@pytest.mark.slow
def test_a_sweep_closes_with_a_line_for_each_job(sweeps):
    folder, commands = sweeps
    for done, count in zip(commands, (2, 1), strict=True):
        lines = done.stdout.splitlines()[-count:]
        assert [line.split()[0] for line in lines] == ["ok"] * count
        assert all((folder / line.split()[-1]).is_file() for line in lines)


@pytest.mark.slow
def test_training_and_timing_fill_their_sections(sweeps):
    folder, _ = sweeps
    for framework in FRAMEWORKS:
        trained = record_of(folder / "results", framework=framework, task="train")
        assert len(trained["curve"]["step_loss"]) == 6
        assert 0 <= trained["accuracy"]["test"] <= 1
        assert trained["throughput"] is None
    timed = record_of(folder / "results", task="time")
    assert timed["timing"]["train_step_seconds"]["median"] > 0
    assert timed["timing"]["recurrent_step_seconds"]["median"] > 0
    assert timed["memory"]["peak_bytes"] >= 0
    assert timed["operations"]["train_step_flops"] > timed["operations"]["forward_flops"] > 0
    assert timed["accuracy"] is None


@pytest.mark.slow
def test_one_certificate_is_made_and_carried_by_all(sweeps):
    folder, _ = sweeps
    written = list((folder / "results" / "certificates").glob("*.json"))
    assert len(written) == 1
    certificate = records.read_certificate(folder / "results", written[0].stem)
    assert certificate is not None
    assert certificate["passed"]
    found, _ = records.read_records(folder / "results")
    assert {record["certificate"]["id"] for record in found} == {certificate["id"]}
    assert {record["certificate"]["error"] for record in found} == {certificate["error"]}


@pytest.mark.slow
def test_both_frameworks_start_from_the_same_loss(sweeps):
    folder, _ = sweeps
    first, second = (
        record_of(folder / "results", framework=name, task="train")["curve"]["step_loss"] for name in FRAMEWORKS
    )
    assert first == pytest.approx(second, rel=1e-3)
    assert first[0] == pytest.approx(second[0], rel=1e-5)


@pytest.mark.slow
def test_each_record_names_the_packages_of_one_framework(sweeps):
    folder, _ = sweeps
    for record in records.read_records(folder / "results")[0]:
        other = next(name for name in FRAMEWORKS if name != record["framework"])
        assert record["framework"] in record["versions"]
        assert other not in record["versions"]


@pytest.mark.slow
def test_resume_skips_what_is_done_and_require_finds_the_certificate(sweeps):
    folder, _ = sweeps
    before = sorted((folder / "results").glob("*.json"))
    words = ["task=train", "model=s5", "task.steps=6", *TINY, *EAGER, *SHORT]
    done = run(*words, "resume=true", "certificate=require", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "skipped" in done.stdout
    assert sorted((folder / "results").glob("*.json")) == before


@pytest.mark.slow
def test_parity_leaves_a_certificate_and_a_record(tmp_path):
    words = ["task=parity", "model=dss", "precision=fp64", "model.dropout=0.3"]
    done = run(*words, *TINY, *EAGER, "threads=1", "seed=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = record_of(tmp_path / "results", task="parity")
    assert record["status"] == "ok"
    assert record["certificate"]["passed"]
    assert record["certificate"]["error"] <= record["certificate"]["bound"] == 1e-9
    assert record["config"]["model"]["dropout"] == 0.3
    certificate = records.read_certificate(tmp_path / "results", record["certificate"]["id"])
    assert certificate is not None
    assert certificate["precision"] == "fp64"


@pytest.mark.slow
def test_a_tracked_run_leaves_its_record_and_an_offline_run_with_the_results(tmp_path):
    words = ["task=time", "~task.steps", "+task.steps=2", "task.rounds=2", "wandb.mode=offline"]
    assert status_of(tiny_run(tmp_path, *words)) == "ok"
    record = record_of(tmp_path)
    assert record["status"] == "ok"
    assert len(record["notes"]) == 1  # no one-step form; what W&B cannot do would be another
    (tracked,) = (tmp_path / "wandb").glob("offline-run-*")
    (stored,) = tracked.glob("run-*.wandb")
    assert f"record-{record['id']}".encode() in stored.read_bytes()
    (table,) = tracked.rglob("*.table.json")
    rows = {row[0]: row[1] for row in json.loads(table.read_text())["data"]}
    assert rows["train step (ms)"] == pytest.approx(1e3 * record["timing"]["train_step_seconds"]["median"])
    assert rows["samples/s"] == pytest.approx(record["throughput"]["samples_per_second"])


def test_a_diverging_run_leaves_its_curve(tmp_path):
    words = ["task.optimiser.rate=1e308", "task.schedule.name=constant", "task.batch_size=64"]
    assert status_of(tiny_run(tmp_path, *words, "task.epochs=1", "task.steps=null")) == "diverged"
    record = record_of(tmp_path)
    assert record["status"] == "diverged"
    assert "task.optimiser.rate" in record["message"]
    assert len(record["curve"]["step_loss"]) >= 1
    assert record["ledger"]["step_seconds"] > 0


def test_auto_means_the_gpu_that_the_parent_saw_and_never_the_cpu_instead(tmp_path):
    assert status_of(tiny_run(tmp_path, "hardware=auto", device="gpu")) == "failed"
    record = record_of(tmp_path)
    assert "hardware=gpu" in record["message"]
    assert "choose hardware=cpu" in record["message"]


def test_a_worker_that_cannot_write_its_record_says_why_in_one_line(tmp_path, capfd):
    """Its parent is gone, and so is the results folder."""
    (tmp_path / "file").touch()
    request = replace(orphan(tmp_path / "unused"), results_dir=str(tmp_path / "file" / "results"))
    worker = Child(NUMPY_WORKER, {**os.environ, "OMP_NUM_THREADS": "1"})
    worker.send(encode(Request(1, request)))
    assert worker.end(60).returncode == 1
    said = joined(capfd.readouterr().err)
    assert "Traceback" not in said
    assert "results folder" in said.splitlines()[-1]
    assert "is a file" in said


def test_a_record_that_cannot_be_written_is_a_failed_run_and_no_refusal(tmp_path, monkeypatch, capsys):
    def full(record, folder):
        raise RecordError("the disk is full")

    monkeypatch.setattr(runs, "worker_command", lambda tree: [sys.executable, "-c", "raise SystemExit(1)"])
    monkeypatch.setattr(runs, "write_record", full)
    session = Session(["-m"])
    session.sweep = True
    for seed in range(2):  # the first one does not stop the sweep
        session._tell(job.job(composed(*TINY, f"results_dir={tmp_path}", "certificate=skip", f"seed={seed}")))
    assert [outcome.status for outcome in session.outcomes] == ["failed", "failed"]
    assert session.run_ended() == 1
    assert "".join(capsys.readouterr()).count("the disk is full") == 4  # as each ends, and in the closing lines


def test_ctrl_c_stops_a_sweep_also_when_the_run_had_just_ended_well(tmp_path, monkeypatch):
    session = Session(["-m"])

    def ended_well(config):
        with pytest.raises(KeyboardInterrupt):
            session.interrupt(signal.SIGINT, None)
        return Outcome("s4 torch digits train", "ok", None, None)

    monkeypatch.setattr(job, "_launched", ended_well)
    with pytest.raises(KeyboardInterrupt):
        session._tell(job.job(composed(*TINY)))
    assert session.run_ended() == 130


@pytest.mark.skipif(sys.platform != "linux", reason="reads the held signals from /proc")
def test_ctrl_c_while_a_worker_still_imports_waits_until_it_can_leave_a_record(tmp_path):
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(WORKER, stdin=subprocess.PIPE, env=variables, text=True) as worker:
        status = Path(f"/proc/{worker.pid}/status")
        deadline = time.monotonic() + 30
        while not int(re.findall(r"SigBlk:\s*(\w+)", status.read_text())[0], 16) & 1 << (signal.SIGINT - 1):
            assert time.monotonic() < deadline
        worker.send_signal(signal.SIGINT)
        worker.stdin.write(encode(Request(1, orphan(tmp_path))) + "\n")
        worker.stdin.close()  # its parent has been interrupted, too, and is gone
        assert worker.wait(60) == 1
    record = record_of(tmp_path)
    assert record["status"] == "interrupted"
    assert "SIGINT" in record["message"]
    assert record["ledger"] is None  # it imported no framework


class Deaths:
    """Three long runs at once in one results folder, each ended in another way while it trains."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        words = [*TINY, *EAGER, "task.steps=1000000", "certificate=skip", "threads=1"]
        self.parents = {
            name: start(*words, f"seed={seed}", cwd=folder)
            for seed, name in enumerate(("worker killed", "parent killed", "ctrl-c"))
        }
        try:
            self.workers = {name: training(parent) for name, parent in self.parents.items()}
            self.affinity = self.workers["ctrl-c"].cpu_affinity()
            self.environment = self.workers["ctrl-c"].environ()
            self.workers["worker killed"].kill()
            self.parents["parent killed"].kill()
            os.killpg(self.parents["ctrl-c"].pid, signal.SIGINT)  # as a terminal does: to parent and worker
            self.said = {name: parent.communicate(timeout=90) for name, parent in self.parents.items()}
            self.left = psutil.wait_procs(list(self.workers.values()), timeout=60)[1]
        finally:
            for parent in self.parents.values():
                if parent.poll() is None:
                    os.killpg(parent.pid, signal.SIGKILL)

    def record(self, seed: int) -> dict:
        return record_of(self.results, seed=seed)


def training(parent: subprocess.Popen[str]) -> psutil.Process:
    """The worker of a run, once it has worked for some seconds of processor time beyond its imports."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert parent.poll() is None, parent.communicate()
        for child in psutil.Process(parent.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # one that was asked about the machine, and has ended
                if "--worker" in child.cmdline() and child.cpu_times().user > 6.5:
                    return child
        time.sleep(0.1)
    raise AssertionError("the worker did not start to train")


@pytest.fixture(scope="module")
def deaths(tmp_path_factory):
    return Deaths(tmp_path_factory.mktemp("deaths"))


@pytest.mark.slow
def test_a_worker_killed_from_outside_gets_its_record_from_the_parent(deaths):
    record = deaths.record(seed=0)
    assert record["status"] == "failed"
    assert "SIGKILL" in record["message"]
    assert deaths.parents["worker killed"].returncode == 1
    assert "Traceback" not in deaths.said["worker killed"][1]


@pytest.mark.slow
def test_a_worker_whose_parent_is_killed_ends_with_its_record(deaths):
    assert deaths.left == []
    record = deaths.record(seed=1)
    assert record["status"] == "interrupted"
    assert "is gone" in record["message"]


@pytest.mark.slow
def test_ctrl_c_leaves_an_interrupted_record_with_what_was_measured(deaths):
    record = deaths.record(seed=2)
    assert record["status"] == "interrupted"
    assert "SIGINT" in record["message"]
    assert record["ledger"]["import_seconds"] > 0
    assert len(record["curve"]["step_loss"]) >= 1
    assert deaths.parents["ctrl-c"].returncode == 130
    assert "Traceback" not in deaths.said["ctrl-c"][1]


@pytest.mark.slow
def test_no_death_damages_a_file(deaths):
    found, damaged = records.read_records(deaths.results)
    assert damaged == []
    assert len(found) == 3
    assert [path.name for path in deaths.results.iterdir() if path.suffix != ".json"] == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds a process to cores")
def test_a_worker_is_bound_to_its_threads(deaths):
    assert len(deaths.affinity) == 1
    pools = [name for name in deaths.environment if name.endswith("_NUM_THREADS")]
    assert {deaths.environment[name] for name in pools} == {"1"}


@pytest.mark.slow
def test_ctrl_c_twice_kills_a_worker_that_does_not_end_and_leaves_a_record(tmp_path):
    """The worker is held by a debugger's signal, so that it cannot answer the first Ctrl-C."""
    words = [*TINY, *EAGER, "task.steps=1000000", "certificate=skip", "threads=1"]
    parent = start(*words, cwd=tmp_path)
    try:
        worker = training(parent)
        worker.suspend()
        parent.send_signal(signal.SIGINT)
        time.sleep(1.0)
        assert parent.poll() is None  # it waits for what the worker has measured
        parent.send_signal(signal.SIGINT)
        said = parent.communicate(timeout=60)
    finally:
        if parent.poll() is None:
            os.killpg(parent.pid, signal.SIGKILL)
    assert parent.returncode == 130
    assert "Traceback" not in said[1]
    assert not worker.is_running()
    record = record_of(tmp_path / "results")
    assert record["status"] == "interrupted"
    assert record["parameters"]["count"] > 0  # what the worker had told before


@pytest.mark.parametrize("name", ["ok", "interrupted"])
def test_a_signal_while_something_is_done_whole_waits_for_its_end(name):
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with held_back():
            if name == "interrupted":
                os.kill(os.getpid(), signal.SIGTERM)
            done = list(came)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done == []
    assert came == ([signal.SIGTERM] if name == "interrupted" else [])


def test_what_a_dead_worker_s_end_says():
    assert Ending(-9, False, 0).verdict()[0] == "failed"
    assert Ending(-9, False, 1).verdict()[0] == "out_of_memory"
    assert Ending(-11, False, 1).verdict()[0] == "failed"
    assert "SIGSEGV" in Ending(-11, False, 0).verdict()[1]
    assert Ending(3, False, 0).verdict() == (
        "failed",
        "the worker ended with exit status 3 and wrote no record; see its output",
    )
    assert Ending(-15, True, 0).verdict()[0] == "interrupted"
    assert "signal 35" in Ending(-35, False, 0).verdict()[1]  # a real-time signal has no name


def test_the_summary_of_a_run_names_status_reason_and_record(tmp_path):
    record = tiny_run(tmp_path).record
    record |= {"accuracy": {"validation": 0.5, "test": 0.25}}
    text = of_run(Outcome("s4 torch digits train", "failed", "why", tmp_path / "x.json", record))
    assert text.splitlines()[0] == "s4 torch digits train: failed: why"
    assert "25.00 %" in text
    assert str(tmp_path / "x.json") in text
