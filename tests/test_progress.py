"""What a run in a log says, and how often, by a clock that is moved by hand; and that a bar stays on a terminal.

Not covered: how a bar looks.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from commands import CONF, NUMPY_WORKER, composed, joined, status_of, tiny_run
from local_worker import LocalWorker
from numpy_framework import Clock, NumpyTrainer, small_data
from test_timing import settings as timing_settings
from test_training import SETTINGS as TRAINING

from bench.measure import stopwatch
from bench.runs.plan import plan
from bench.store.outcome import Outcome
from bench.tasks import registry
from bench.tasks import time as timing
from bench.views.summary import of_run, of_sweep
from bench.workers import training
from bench.workers.children import Child
from bench.workers.protocol import Train
from bench.workers.remote import Remote
from bench.workers.training import train_task
from datasets.files.archives import Archive, unpack
from datasets.store import cache
from settings import progress
from settings.progress import QUIET_SECONDS, WIDTH, Counter, Voice, duration, items, wrapped


class Log:
    """A stream that is no terminal, the voice that writes to it, and when it did."""

    def __init__(self) -> None:
        self.clock, self.stream, self.times = Clock(), io.StringIO(), []
        write = self.stream.write

        def timed(text: str) -> int:
            self.times.append(self.clock.now)
            return write(text)

        self.stream.write = timed  # type: ignore[method-assign]
        self.voice = Voice(self.stream, self.clock.perf_counter)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log(monkeypatch):
    log = Log()
    monkeypatch.setattr(progress, "VOICE", log.voice)
    monkeypatch.setattr(cache, "VOICE", log.voice)
    for module in (training, timing, stopwatch):
        monkeypatch.setattr(module, "time", log.clock)
    return log


def trained(log: Log, seconds: float, **changes) -> NumpyTrainer:
    """Training whose every step takes `seconds` on the clock; the thread's look at it comes once a second."""
    trainer = NumpyTrainer()

    def step(_: int) -> None:
        for _ in range(max(1, int(seconds))):
            log.clock.now += min(1.0, seconds)
            log.voice.beat()

    trainer.before_step = step
    train_task(trainer, small_data(), {**TRAINING, **changes}, {}, seed=0, ledger={})
    return trainer


@pytest.mark.parametrize("seconds", [0.01, 0.5, 7, 40, 200])
def test_a_training_says_something_every_minute_and_not_much_more(log, seconds):
    trained(log, seconds, epochs=8)
    pauses = np.diff([0.0, *log.times, log.clock.now])
    assert pauses.max() <= 60
    assert len(log.lines) <= 1 + log.clock.now / progress.LEAST_SECONDS


def test_a_step_s_line_holds_step_loss_rate_and_remaining_time(log):
    trained(log, 7, epochs=8)
    lines = [line for line in log.lines if line.startswith("step ")]
    assert lines
    shape = r"step \d+ of 80, loss \d\.\d{4}, (accuracy \d\.\d{4}, )?0\.143 steps/s, \d+:\d\d left"
    assert [line for line in lines if not re.fullmatch(shape, line)] == []
    step, left = re.search(r"step (\d+) of 80.*?(\d+:\d\d) left", lines[-1]).groups()
    assert left == duration((80 - int(step)) * 7)


def test_each_epoch_has_its_line_but_one_every_ten_seconds(log):
    trained(log, 1.2, epochs=8)  # an epoch of ten steps takes 12 s
    ends = [line for line in log.lines if line.startswith("epoch ")]
    assert [line.split(",")[0] for line in ends] == [f"epoch {epoch} of 8" for epoch in range(1, 9)]
    assert all("accuracy" in line for line in ends)
    log.stream.truncate(0)
    begin = len(log.times)
    trained(log, 0.3, epochs=8)  # 3 s
    assert len(log.times) - begin == 2


def test_no_loss_of_a_young_step_is_read_for_a_line(log):
    """The younger half of the steps that wait stays queued: the device has work while the line is written."""
    left = []

    class Queued(NumpyTrainer):
        taken = seen = 0

        def train_step(self, batch, scale):
            self.taken += 1
            log.clock.now += 7
            return super().train_step(batch, scale)

        def read_all(self, metrics):
            self.seen += len(metrics)
            if self.taken % 10 and not self.evaluated:
                left.append((self.taken - self.seen, len(metrics)))
            return super().read_all(metrics)

    train_task(Queued(), small_data(), {**TRAINING, "epochs": 1}, {}, seed=0, ledger={})
    assert left
    assert all(waiting >= read for waiting, read in left)


def test_a_long_compilation_a_validation_and_a_test_are_named(log):
    class Slow(NumpyTrainer):
        def compile(self, batch):
            self.take_long()
            return False

        def evaluate(self, batch, count):
            self.take_long()
            return super().evaluate(batch, count)

        def take_long(self):
            for _ in range(70):
                log.clock.now += 1
                log.voice.beat()

    train_task(Slow(), small_data(), {**TRAINING, "epochs": 1}, {}, seed=0, ledger={})
    text = "\n".join(log.lines)
    assert "still compiling the train step (0:55)" in text
    assert "still validating after epoch 1: batch 1 of 4" in text
    assert "still testing: batch 2 of 3" in text
    assert np.diff([0.0, *log.times]).max() <= 60


def timed(log: Log, seconds: float, **changes) -> NumpyTrainer:
    class Timed(NumpyTrainer):
        def train_step(self, batch, scale):
            log.clock.now += seconds
            return super().train_step(batch, scale)

    trainer = Timed()
    settings = timing_settings(**{"phases": ["train_step"], "budget_seconds": 1e4, **changes})
    with Counter(settings.rounds, "round") as bar:
        timing.measure(LocalWorker(trainer), settings, lambda note: None, bar)
    return trainer


def test_rounds_speak_between_them_at_most_every_ten_seconds(log):
    timed(log, 1.5, rounds=4)  # a round of five steps takes 7.5 s
    said = [line for line in log.lines if "round" in line]
    assert said
    assert all(
        re.match(r"train_step: round \d of 4, 1500 ms a call, at most \d+:\d\d(:\d\d)? left", line) for line in said
    )
    assert np.diff(log.times).min() >= 10


def test_nothing_is_written_while_a_round_is_clocked(log, monkeypatch):
    inside = []
    waited = stopwatch._waited

    def watched(*arguments):
        before = len(log.times)
        seconds = waited(*arguments)
        inside.append(len(log.times) - before)
        return seconds

    monkeypatch.setattr(stopwatch, "_waited", watched)
    timed(log, 2.0, rounds=6)
    assert sum(inside) == 0
    assert len(log.times) > 0


def test_the_thread_speaks_where_nothing_else_does_and_sleeps_till_then(log):
    voice, clock = log.voice, log.clock
    with voice.during("compiling"):
        assert voice.beat() == pytest.approx(QUIET_SECONDS)
        clock.now = 20
        voice.say("something else")
        clock.now = 60
        assert voice.beat() == pytest.approx(QUIET_SECONDS - 40)
        clock.now = 20 + QUIET_SECONDS
        assert voice.beat() == QUIET_SECONDS
        assert log.lines == ["something else", "still compiling (1:15)"]
        with voice.during(None):  # another process speaks
            clock.now += 1000
            voice.beat()
        assert voice.beat() > 0
    clock.now += 1000
    voice.beat()
    assert len(log.lines) == 2


def test_the_thread_runs_and_ends(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.05)
    stream = io.StringIO()
    voice = Voice(stream)
    voice.title = "3/12 s4"
    with voice.beating(), voice.during(lambda: "waiting"):
        deadline = time.monotonic() + 20
        while "3/12 s4: still waiting (0:0" not in stream.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert len([one for one in threading.enumerate() if one.name.startswith("progress")]) == 1
    assert [one for one in threading.enumerate() if one.name.startswith("progress")] == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar_and_no_line():
    stream = Terminal()
    voice = Voice(stream)
    with Counter(4, "step", "preparing", voice=voice) as counter:
        for _ in range(4):
            counter.update()
            counter.report(seconds=-1)
    voice.report("no line", -1)
    assert "preparing: 100%" in stream.getvalue()
    assert "\n" not in stream.getvalue().strip("\n")
    assert "no line" not in stream.getvalue()


def test_items_and_bytes_are_counted(log):
    made = []
    for item in items(range(100), "preparing words"):
        log.clock.now += 1
        made.append(item)
    assert made == list(range(100))
    assert log.lines[0] == "preparing words: item 30 of 100, 1 items/s, 1:10 left"
    assert len(log.lines) == 3
    counter = Counter(200_000_000, "B", "fetching x")
    counter.update(50_000_000)
    log.clock.now += 10
    assert counter.text() == "fetching x: 50.0 of 200.0 MB, 5.0 MB/s, 0:30 left"


def test_unpacking_and_preparing_are_named(log, tmp_path):
    (tmp_path / "a").mkdir()
    for name in "xyz":
        (tmp_path / "a" / name).write_bytes(b"1")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a", "a")
    archive = Archive("a.tar", (), "md5:", "b", "a", ("x",))
    advance = log.clock.perf_counter

    def hurried() -> float:
        log.clock.now += 20
        return advance()

    log.voice.now = hurried
    unpack(tmp_path / "a.tar", archive, tmp_path)
    assert any(line.startswith("unpacking a.tar: file ") for line in log.lines)
    log.voice.now = advance
    recipe = cache.Recipe("words", {}, [])

    def make(folder: Path) -> dict:
        log.clock.now += 60
        log.voice.beat()
        cache.new_array(folder, "x", np.int32, (1,))
        return {}

    cache.prepared(recipe, tmp_path, "source", make)
    assert "still preparing words (1:00)" in log.lines


def test_a_reader_that_is_gone_does_not_end_a_run():
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    Voice(Gone()).say("into the void")


def test_a_run_in_a_log_says_what_it_will_do_and_in_its_title(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(progress.VOICE, "title", "3/12 s4 torch digits train")
    assert status_of(tiny_run(tmp_path)) == "ok"
    raw = capfd.readouterr().err.splitlines()
    (line,) = joined("\n".join(raw)).splitlines()
    assert line.startswith("3/12 s4 torch digits train: begins on cpu (any), 1 threads, fp32, ")
    assert line.endswith("parameters, batch 32, 1 steps of 40 an epoch")
    assert max(map(len, raw)) <= WIDTH


@pytest.mark.parametrize(
    "words, plan_of",
    [
        (["task=train"], "40 epochs x 40 steps"),
        (["task=time"], "rounds of each of train_step, forward, recurrent_step in 3 processes"),
        (["task=compare"], "waves of 2 processes a side in about 300 s"),
        (["task=parity"], "10 steps, compared with the other framework's"),
    ],
)
def test_the_plan_of_each_task(words, plan_of):
    config = composed(*words)
    config["task"] |= {"epochs": 40} if words == ["task=train"] else {}
    machine = {"cpu": "AMD EPYC", "gpu": {"name": "NVIDIA H100"}}
    record = {"config": config, "machine": machine, "device": "gpu", "threads": 2, "precision": "fp32"}
    work = registry.find(config["task"]["name"]).work(registry.settings(config["task"]), 1294)
    text = plan({**record, "parameters": {"count": 12345}}, work)
    assert text.startswith("begins on gpu (NVIDIA H100), 2 threads, fp32, 12,345 parameters, batch ")
    assert plan_of in text


# --- widths and numbers


@pytest.mark.parametrize(
    "text",
    [
        "a word " * 60,
        "short",
        "x" * 300,
        "list of places:\n  https://a.example/" + "x" * 120 + ": no route to " + "host " * 30 + "\nput it by hand",
        "model.n=7: " + "must be even, " * 20,
    ],
)
def test_no_line_is_wider_than_100_columns_but_a_word(text):
    lines = wrapped(text).splitlines()
    assert [line for line in lines if len(line) > WIDTH and " " in line.strip()] == []
    assert " ".join(wrapped(text).split()) == " ".join(text.split())


def test_summaries_keep_to_the_width_and_a_path_stays_whole():
    path = Path("/scratch") / ("folder" * 20) / "20260101T000000-s4-torch-digits-train-0123abcd.json"
    reason = "task.batch_size=5000: " + "dataset=digits has 1294 training sequences; " * 6
    outcomes = [Outcome("1/2 s4 torch digits train", "ok", None, path), Outcome("2/2 s4", "refused", reason, None)]
    for text in (of_sweep(outcomes), *map(of_run, outcomes)):
        lines = text.splitlines()
        assert [line for line in lines if len(line) > WIDTH and line.strip() != str(path)] == []
    assert str(path) in of_sweep(outcomes)
    assert " ".join(reason.split()) in " ".join(of_sweep(outcomes).split())


def test_nothing_but_the_voice_prints_to_stderr_while_something_runs():
    """A line that goes around it has no width, no title, and is not counted as said."""
    rooms = (CONF.parent / "bench" / room for room in ("runs", "tasks", "workers"))
    for path in [*(CONF.parent / "datasets").glob("*.py"), *(path for room in rooms for path in room.glob("*.py"))]:
        text = path.read_text(encoding="utf-8")
        if path.name != "progress.py":
            assert "tqdm" not in text, path
            assert "sys.stderr" not in text, path
    assert sys.modules["bench.workers.training"].Counter is Counter


@pytest.mark.skipif(sys.platform == "win32", reason="has no such terminals")
def test_a_worker_on_a_terminal_shows_its_bar(tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    own, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    child = Child(NUMPY_WORKER, {**os.environ, "OMP_NUM_THREADS": "1"}, stderr=its)
    os.close(its)
    worker = Remote(child)
    for body in (tiny_run(tmp_path).request(), Train(epochs=1, steps=4)):
        worker.ask(body)
    worker.leave()
    shown = b""
    while part := read_terminal(own):
        shown += part
    assert child.wait(60).returncode == 0
    os.close(own)
    assert b"4/4 [" in shown
    assert b"begins on" not in shown


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # as Linux says that the other end is closed
        return b""
