"""A worker and its parent in conversation: real processes, with the NumPy framework, which starts in a second."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import NUMPY_WORKER, ROOT, TINY, composed
from test_run import record_of

from bench.framework import OptimiserSpec
from bench.store import records
from bench.workers import remote
from bench.workers.children import Child
from bench.workers.lines import ProtocolError, decode, encode
from bench.workers.observations import completed
from bench.workers.protocol import (
    PROTOCOL,
    Build,
    Epoch,
    Error,
    Finish,
    FirstCall,
    Greeting,
    Memory,
    Notice,
    Refused,
    Request,
    Result,
    Round,
    Singles,
    StateIn,
    StateOut,
    Timed,
    Trace,
    Train,
    WarmUp,
)
from bench.workers.remote import Crew, Remote, RunEnded

ENDLESS = Train(epochs=1, steps=10**6)


def build(folder: Path | None = None, **changes: Any) -> Build:
    """A small network on digits; with a folder, a record is left there where the parent is gone."""
    config = composed(*TINY, f"results_dir={folder}")
    made = Build(
        **{"framework": "torch", "compile": "none", "precision": "fp32", "device": "cpu", "threads": 1, "seed": 0},
        model=config["model"],
        dataset=config["dataset"],
        data_dir=config["data_dir"],
        batch_size=32,
        length=None,
        optimiser=OptimiserSpec(rate=0.05),
    )
    if folder is not None:
        record = records.new_record(config, machine={"cpu": "any", "gpu": None}, device="cpu", threads=1)
        made = replace(made, record=record, results_dir=str(folder))
    return replace(made, **changes)


@pytest.fixture
def crew():
    crew = Crew()
    yield crew
    crew.kill()


def started(crew: Crew, trainer: str = "NumpyTrainer", on_notice: Any = None, **variables: str) -> Remote:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return crew.start([*NUMPY_WORKER, trainer], environment, trainer, on_notice)


def test_every_message_comes_through_as_it_was():
    sent = [
        build(strangers=["jax"]),
        Train(3, None, 2, {"name": "cosine"}),
        Notice(1, Epoch({"epoch": 1}, [0.5, float("inf")])),
        Error(2, "failed", "why", None, Timed([1.0])),
        Result(7, Timed([1e-300])),
        Greeting(PROTOCOL, "/tree"),
    ]
    for number, message in enumerate(sent):
        line = encode(message if number > 1 else Request(number, message))
        assert "\n" not in line
        got = decode(line.encode())
        assert (got if number > 1 else got.body) == message
    assert np.isnan(decode(encode(Timed([float("nan")]))).samples[0])
    assert decode(encode(Result(1, Timed([np.float32(0.5)])))).body == Timed([0.5])


@pytest.mark.parametrize("line", [b"", b"3", b"{}", b"noise", b'{"@": "Rnd"}', b'{"@": "Round", "phase": 1, "x": 2}'])
def test_what_is_no_message_is_told_with_its_text(line):
    with pytest.raises(ProtocolError, match=rf"is no message of protocol {PROTOCOL}"):
        decode(line)


def test_requests_need_not_wait_for_their_answers_and_answers_keep_their_order(crew):
    worker = started(crew)
    requests = [build(), FirstCall("train_step"), WarmUp("train_step", 2), Singles("train_step", 3, 10.0)]
    for request in [*requests, Round("train_step", 5), Memory(), Finish()]:
        worker.send(request)
    answers = [type(worker.receive()).__name__ for _ in range(7)]
    assert answers == ["Built", "Timed", "Done", "Timed", "Timed", "MemoryNow", "Done"]
    assert len(worker.seen.singles["train_step"]) == 3
    assert worker.seen.rounds["train_step"][0][0] == 5
    crew.leave()
    assert worker.child.process.returncode == 0


def test_what_a_worker_prints_damages_no_answer(crew, capfd):
    worker = started(crew, "Talkative")
    worker.ask(build())
    worker.ask(FirstCall("train_step"))
    assert isinstance(worker.ask(Round("train_step", 5)), Timed)
    crew.leave()
    assert capfd.readouterr().err.count("noise") == 6


def test_an_epoch_is_told_as_it_ends_and_the_answer_holds_them_all(crew):
    told: list[Any] = []
    worker = started(crew, on_notice=told.append)
    worker.ask(build())
    trained = worker.ask(Train(epochs=2))
    assert [body.entry["epoch"] for body in told] == [1, 2]
    assert [body.entry for body in told] == trained.curve["epochs"]
    assert [loss for body in told for loss in body.step_losses] == trained.curve["step_loss"]


def test_the_state_goes_from_one_worker_to_another(crew, tmp_path):
    first, second = started(crew), started(crew)
    for worker in (first, second):
        worker.send(build())
    for worker in (first, second):
        worker.receive()
    first.ask(Train(epochs=1, steps=3))
    first.ask(StateOut(str(tmp_path / "state.npz")))
    second.ask(StateIn(str(tmp_path / "state.npz")))
    for worker, name in ((first, "a"), (second, "b")):
        worker.ask(StateOut(str(tmp_path / f"{name}.npz")))
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert a.keys() == b.keys() == {"weight", "bias"}
        assert all((a[name] == b[name]).all() for name in a)
    np.savez(tmp_path / "other.npz", weight=np.zeros((10, 1)))
    with pytest.raises(Refused, match=r"state: names \['bias'\] are on one side only"):
        second.ask(StateIn(str(tmp_path / "other.npz")))
    np.savez(tmp_path / "other.npz", weight=np.zeros((10, 1)), bias=np.zeros(3))
    with pytest.raises(Refused, match=r"bias has shape \(3,\) in the file and \(10,\) here"):
        second.ask(StateIn(str(tmp_path / "other.npz")))
    second.ask(Trace(str(tmp_path / "trace.npz"), 2))  # a refusal has changed nothing
    assert (tmp_path / "trace.npz").exists()


def test_an_unknown_phase_is_refused(crew):
    worker = started(crew)
    worker.ask(build())
    with pytest.raises(Refused, match="'backward' is unknown"):
        worker.ask(FirstCall("backward"))


def test_a_failing_build_says_why_with_what_it_had_found(crew):
    worker = started(crew)
    with pytest.raises(RunEnded, match="hardware=gpu") as ended:
        worker.ask(build(device="gpu"))
    assert ended.value.status == "failed"
    assert "Traceback" in ended.value.trace
    worker.send(build(data_dir=5))  # after the import
    with pytest.raises(RunEnded):
        worker.receive()
    assert worker.seen.built.ledger["import_seconds"] >= 0


@pytest.mark.parametrize(
    ("trainer", "changes", "status"),
    [("Greedy", {}, "out_of_memory"), ("NumpyTrainer", {"optimiser": OptimiserSpec(rate=1e308)}, "diverged")],
)
def test_an_error_tells_its_kind_and_what_was_measured_before(crew, trainer, changes, status):
    worker = started(crew, trainer)
    worker.ask(build(**changes))
    with pytest.raises(RunEnded) as ended:
        worker.ask(Train(epochs=5))
    assert ended.value.status == status
    assert len(worker.seen.trained.curve["step_loss"]) >= 2


def test_an_interrupted_training_answers_with_its_curve_and_the_worker_stays(crew):
    worker = started(crew, "Endless", on_notice=lambda body: os.kill(worker.child.process.pid, signal.SIGINT))
    worker.ask(build())
    with pytest.raises(RunEnded, match="interrupted by SIGINT") as ended:
        worker.ask(ENDLESS)
    assert ended.value.status == "interrupted"
    assert len(worker.seen.trained.curve["epochs"]) >= 1
    with pytest.raises(RunEnded, match="interrupted by SIGINT"):  # nothing else is begun
        worker.ask(Round("train_step", 1))
    worker.ask(Finish())
    crew.leave()
    assert worker.child.process.returncode == 0


def test_a_crew_that_is_interrupted_says_what_it_has_measured(crew):
    workers = [started(crew, "Endless") for _ in range(2)]
    for worker in workers:
        worker.send(build())
        worker.send(ENDLESS)
    for worker in workers:
        worker.receive()
    time.sleep(0.5)
    error = crew.interrupt()
    assert (error.kind, error.message) == ("interrupted", "interrupted by SIGTERM")
    assert all(len(worker.seen.trained.curve["step_loss"]) > 0 for worker in workers)
    assert not any(worker.is_busy for worker in workers)


def test_a_worker_that_does_not_heed_is_killed(crew, monkeypatch):
    monkeypatch.setattr(remote, "GRACE_SECONDS", 0.5)
    deaf = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); sys.stdin.readline(); time.sleep(60)"
    )
    greeting = encode(Greeting(PROTOCOL, "/tree"))
    worker = crew.start([sys.executable, "-c", f"print({greeting!r}, flush=True); {deaf}"], dict(os.environ))
    worker.send(build())
    begin = time.monotonic()
    assert crew.interrupt() is None
    assert time.monotonic() - begin < 30
    assert worker.child.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_s_death_is_told_with_the_epochs_that_it_had_told(crew, number):
    worker = started(crew, "Deadly", DEATH=str(int(number)))
    worker.ask(build(batch_size=1294))  # an epoch a step
    with pytest.raises(RunEnded, match=number.name) as ended:
        worker.ask(Train(epochs=5))
    assert ended.value.status in ("failed", "out_of_memory")  # another process may be short of memory meanwhile
    assert len(worker.seen.trained.curve["epochs"]) == 2
    assert len(worker.seen.trained.curve["step_loss"]) == 2


def test_a_worker_that_ends_at_once_is_told_by_its_exit_status(crew):
    worker = crew.start([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))
    with pytest.raises(RunEnded, match="exit status 3"):
        worker.send(build())


def test_a_worker_that_cannot_be_started_is_told(crew):
    with pytest.raises(RunEnded, match="/no/python: the worker cannot be started"):
        crew.start(["/no/python"], dict(os.environ))


def test_a_worker_of_another_protocol_is_refused_before_it_is_asked(crew):
    greeting = encode(Greeting(PROTOCOL + 1, "/other/tree"))
    worker = crew.start([sys.executable, "-c", f"print({greeting!r}); input()"], dict(os.environ))
    with pytest.raises(RunEnded, match=rf"protocol {PROTOCOL + 1}, of /other/tree; this tree speaks {PROTOCOL}"):
        worker.send(build())


PARENT = f"""
import os, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
from test_workers import ENDLESS, build, started, Crew
told = []
worker = started(Crew(), "Endless", on_notice=lambda body: print(worker.child.process.pid, flush=True))
worker.send(build(Path(sys.argv[1])))
worker.send(ENDLESS)
worker.receive()
worker.receive()
"""


def test_a_worker_whose_parent_is_killed_writes_what_it_has_measured(tmp_path):
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        time.sleep(0.3)  # some steps more
        parent.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    record = record_of(tmp_path)
    assert record["status"] == "interrupted"
    assert "is gone" in record["message"]
    assert len(record["curve"]["epochs"]) >= 1
    assert len(record["curve"]["step_loss"]) > record["curve"]["epochs"][-1]["step"]  # of the epoch that was cut, too
    assert record["ledger"]["step_seconds"] > 0
    assert record["parameters"]["count"] > 0


def test_a_worker_leaves_alone_what_its_parent_has_written(crew, tmp_path):
    worker = started(crew)
    request = build(tmp_path)
    worker.ask(request)
    path = tmp_path / f"{request.record['id']}.json"
    path.write_text("written")
    worker.child.hang_up()  # as if this process were gone
    assert worker.child.wait(30).returncode == 1
    assert path.read_text() == "written"


def test_both_sides_make_the_same_record_of_what_was_measured(crew, tmp_path):
    worker = started(crew)
    request = build(tmp_path)
    for body in (request, FirstCall("train_step"), Singles("train_step", 3, 10.0), Round("train_step", 5), Memory()):
        worker.ask(body)
    worker.child.hang_up()
    worker.child.wait(30)
    theirs = record_of(tmp_path)
    ours = completed(request.record, worker.seen)
    records.set_status(ours, "interrupted", theirs["message"])
    ours = records.read_record(records.write_record(ours, tmp_path / "ours"))
    assert ours == theirs
    assert ours["timing"]["train_step_seconds"]["median"] > 0


def test_lines_longer_than_a_pipe_pass_while_nobody_reads_them():
    echo = "import sys, time; line = sys.stdin.readline(); time.sleep(0.5); print(len(line)); print(line, end='')"
    child = Child([sys.executable, "-c", echo], dict(os.environ))
    child.send("x" * 10**6)
    child.send("y" * 10**6)
    assert child.receive() == b"1000001"
    assert child.receive() == b"x" * 10**6
    assert child.receive() is None
    assert child.end(10).returncode == 0


def test_a_half_line_of_a_dying_child_is_no_line():
    child = Child([sys.executable, "-c", "import os; os.write(1, b'{'); os._exit(5)"], dict(os.environ))
    assert child.receive() is None
    assert child.end(10).returncode == 5


def test_waiting_for_a_line_can_be_given_up():
    child = Child([sys.executable, "-c", "input()"], dict(os.environ))
    with pytest.raises(TimeoutError):
        child.receive(0.1)
    assert json.dumps(child.end(10).returncode) == "1"  # EOFError, as its input ends
