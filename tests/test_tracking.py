"""W&B tracking: offline for real, and every way it can fail without hurting the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import joined
from test_records import CONFIG, full_record

from bench.runs.tracking import Tracker
from bench.store import records

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "mode": "offline",
    "project": "ssm-bench",
    "entity": None,
    "group": None,
    "name": None,
    "tags": ["t"],
}


@pytest.fixture
def no_account(monkeypatch, tmp_path):
    """No key, no home with a key, and every way to the network closed."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def fake_wandb(folder: Path, monkeypatch, source: str) -> None:
    (folder / "fake").mkdir()
    (folder / "fake" / "wandb.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(folder / "fake"))


def track(tracker: Tracker, folder: Path) -> list[str]:
    record = full_record()
    path = records.write_record(record, folder)
    with tracker:
        tracker.start(CONFIG, name="a run")
        tracker.log(1, {"loss": 0.5})
        return tracker.finish(record, path, [{"measure": "step", "value": 1.0}])


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"wandb\.mode: 'maybe'"):
        Tracker({"mode": "maybe"}, tmp_path)


def test_disabled_does_nothing_and_imports_nothing(tmp_path):
    assert track(Tracker({"mode": "disabled"}, tmp_path / "w"), tmp_path) == []
    assert not (tmp_path / "w").exists()
    code = "import sys, bench.runs.tracking; sys.exit('wandb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_offline_works_without_account_or_network(tmp_path, no_account):
    assert track(Tracker(SETTINGS, tmp_path), tmp_path) == []
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    (stored,) = run.glob("run-*.wandb")
    content = stored.read_bytes()
    for expected in (b"d_model", b"train_step_seconds.median", b"record-", b"loss"):
        assert expected in content
    tables = list(run.rglob("*.table.json"))
    assert [json.loads(path.read_text())["data"] for path in tables] == [[["step", 1.0]]]
    assert len(records.read_records(tmp_path, recursive=True)[0]) == 1  # W&B's own JSON files are no records


def test_online_without_a_key_fails_soon_and_says_so(tmp_path, no_account, capfd):
    begin = time.monotonic()
    notes = track(Tracker({**SETTINGS, "mode": "online"}, tmp_path, start_seconds=45), tmp_path)
    assert time.monotonic() - begin < 60
    assert len(notes) == 1
    assert "record is not affected" in notes[0]
    assert notes[0] in joined(capfd.readouterr().err)


@pytest.mark.parametrize(
    "source, said",
    [
        ("raise ImportError('no such library')", "start: ImportError: no such library"),
        (
            "def Settings(**_): pass\ndef init(**_): raise RuntimeError('broken')",
            "start: RuntimeError: broken",
        ),
        ("import os\nos._exit(3)", "ended during start"),
        ("import time\ntime.sleep(60)", "no answer to start within"),
        ("import subprocess\nsubprocess.run(['sleep', '60'])", "no answer to start within"),
    ],
)
def test_a_start_that_fails_is_a_note(tmp_path, monkeypatch, source, said):
    fake_wandb(tmp_path, monkeypatch, source)
    begin = time.monotonic()
    notes = track(Tracker(SETTINGS, tmp_path, start_seconds=2), tmp_path)
    assert time.monotonic() - begin < 40  # of the 60 that the child would sleep
    assert len(notes) == 1
    assert said in notes[0]
    assert len(records.read_records(tmp_path)[0]) == 1


LATER = """
class Run:
    summary = {{}}
    def log(self, *_, **__): {log}
    def log_artifact(self, *_): pass
    def finish(self, **_): {finish}
class Artifact:
    def __init__(self, *_, **__): pass
    def add_file(self, _): pass
def Settings(**_): pass
def Table(**_): pass
def init(**_): return Run()
"""


@pytest.mark.parametrize(
    "log, finish, said",
    [
        ("raise OSError('no space')", "pass", "log: OSError: no space"),
        ("pass", "raise ValueError('refused')", "finish: ValueError: refused"),
        ("pass", "__import__('time').sleep(60)", "no answer to finish within 1 s"),
        ("__import__('os').kill(__import__('os').getpid(), 9)", "pass", "ended during finish"),
        ("pass", "pass", None),
    ],
)
def test_a_later_failure_is_a_note(tmp_path, monkeypatch, log, finish, said):
    fake_wandb(tmp_path, monkeypatch, LATER.format(log=log, finish=finish))
    notes = track(Tracker(SETTINGS, tmp_path, finish_seconds=1), tmp_path)
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


def test_logging_never_blocks_even_when_wandb_hangs(tmp_path, monkeypatch):
    fake_wandb(tmp_path, monkeypatch, LATER.format(log="__import__('time').sleep(60)", finish="pass"))
    with Tracker(SETTINGS, tmp_path) as tracker:
        tracker.start(CONFIG)
        begin = time.monotonic()
        for step in range(2000):
            tracker.log(step, {"loss": 0.1, "padding": "x" * 200})  # more than a pipe holds
        assert time.monotonic() - begin < 40  # of the 60 that each would take
        child = tracker._child.process
        tracker.notes.append("leaving early")
    assert child is not None
    assert child.poll() is not None


def test_a_results_folder_that_cannot_be_made_is_a_note(tmp_path):
    (tmp_path / "file").write_text("")
    with Tracker(SETTINGS, tmp_path / "file") as tracker:
        tracker.start(CONFIG)
        assert "did not start" in tracker.notes[0]
