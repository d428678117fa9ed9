"""Records: round trips, whole files under kill -9, many processes and full disks, and honest refusals."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from bench.store import records
from bench.store.files import PROBE_BYTES

ROOT = Path(__file__).parents[1]
CONFIG = {
    "framework": {"name": "torch", "compile": "default"},
    "model": {"name": "s4", "d_model": 64, "n": 64, "dropout": 0.0, "bidirectional": False},
    "dataset": {"name": "digits"},
    "hardware": {"name": "cpu"},
    "task": {"name": "time", "batch_size": 16, "length": None, "phases": ["train_step", "forward"]},
    "experiment": None,
    "results_dir": "results",
    "data_dir": "data",
    "seed": 0,
    "precision": "fp32",
    "threads": None,
    "certificate": "auto",
    "resume": False,
    "debug": False,
    "wandb": {"mode": "disabled", "project": "ssm-bench", "tags": []},
}
MACHINE = {
    **{"cpu": "a cpu", "cores": 2, "logical_cores": 4, "usable_cores": 4, "memory_bytes": 2**33, "system": "Linux"},
    **{"python": "3", "gpu": None},
}
SPREAD = {"median": 2.0, "iqr": 0.5, "samples": [1.5, 2.0, 2.5]}


def full_record() -> dict:
    record = records.new_record(
        CONFIG,
        code={"commit": "c" * 40, "dirty": False, "hash": "b" * 64},
        versions={"torch": "2.0", "jax": None},
        machine={name: value for name, value in MACHINE.items() if name != "python"},
        device="cpu",
        threads=2,
    )
    step = {**SPREAD, "by_process": [[1.5], [2.0, 2.5]], "single": SPREAD, "steps_per_round": 20}
    record["parameters"] = {"count": 10, "bytes": 40}
    record["timing"] = {
        "train_step_seconds": step,
        "forward_seconds": step,
        "recurrent_step_seconds": None,
        "compile_seconds": SPREAD,
        "first_call_seconds": {"train_step": 1.5},
    }
    record["throughput"] = {"samples_per_second": 8.0, "tokens_per_second": 512.0}
    record["memory"] = {"peak_bytes": 5, "baseline_bytes": 3, "source": "resident", "compiled_bytes": None}
    record["accuracy"] = {"validation": 0.9, "test": 0.8}
    entry = {"epoch": 1, "step": 2, "train_loss": 1.65, "train_accuracy": 0.5, "validation_loss": 1.5}
    entry |= {"validation_accuracy": 0.9, "rate_scale": 1.0, "seconds": 2.0}
    record["curve"] = {"step_loss": [2.3, 1.0], "epochs": [entry]}
    record["certificate"] = {"id": "x", "error": 1e-7, "bound": 1e-4, "precision": "fp32", "passed": True}
    records.set_status(record, "ok")
    return record


def certificate() -> dict:
    entry = {"error": 1e-8, "bound": 1e-4, "worst": "logits"}
    names = ("outputs", "logits", "loss", "gradients", "parameters_1", "parameters_10")
    return {
        **{"schema": 2, "id": "s4-abc", "created": "2025-01-01T00:00:00+00:00", "passed": True},
        **{"precision": "fp32", "model": "s4", "config": {"n": 64}, "config_hash": "c" * 64, "code_hash": "b" * 64},
        **{"versions": {"torch": "2", "jax": "0"}, "machine": MACHINE, "error": 1e-8},
        "errors": {name: entry for name in names},
    }


def test_a_full_record_round_trips(tmp_path):
    record = full_record()
    path = records.write_record(record, tmp_path / "new" / "folder")
    read = records.read_record(path)
    assert path.name == f"{record['id']}.json"
    assert records.validate(read) == []
    for name, value in record.items():
        if name not in ("machine", "memory"):  # these lacked inner names, which are written as null
            assert read[name] == value
    assert read["machine"]["python"] is None
    assert read["memory"]["steady_peak_bytes"] is None
    assert records.read_records(path.parent) == ([read], [])


def test_writing_again_replaces_the_same_run_and_leaves_nothing_else(tmp_path):
    record = full_record()
    records.write_record(record, tmp_path)
    record["notes"].append("later")
    path = records.write_record(record, tmp_path)
    assert records.read_record(path)["notes"] == ["later"]
    assert os.listdir(tmp_path) == [path.name]


def test_numpy_becomes_numbers_and_what_is_not_finite_becomes_null_with_a_note(tmp_path):
    record = full_record()
    record["loss"] = {"train": np.float32(0.5), "validation": np.nan, "test": np.float64("inf")}
    record["curve"]["step_loss"] = np.array([1.0, np.nan, -np.inf])
    record["parameters"]["count"] = np.int64(7)
    path = records.write_record(record, tmp_path)
    read = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read["loss"] == {"train": 0.5, "validation": None, "test": None}
    assert read["curve"]["step_loss"] == [1.0, None, None]
    assert read["parameters"]["count"] == 7
    assert read["notes"] == ["not finite, stored as null: loss.validation, loss.test, curve.step_loss"]
    assert record["notes"] == []
    records.write_record(read, tmp_path)
    assert records.read_record(path)["notes"] == read["notes"]


def test_a_new_record_is_not_ok_until_it_is_said_so(tmp_path):
    record = records.new_record(CONFIG)
    assert records.validate(record) == []
    assert record["status"] == "failed"
    assert record["timing"] is None
    with pytest.raises(records.RecordError, match="status: 'fine'"):
        records.set_status(record, "fine")
    with pytest.raises(records.RecordError, match="message"):
        records.set_status(record, "failed")
    records.set_status(record, "ok")
    assert records.validate(record) == []


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"status": "done"}, "status: one of ok, "),
        ({"status": "failed"}, "message: None"),
        ({"message": "hm"}, "message: 'hm'"),
        ({"schema": 3}, "schema: 3 is unknown"),
        ({"seed": "1"}, "seed: a whole number"),
        ({"seed": None}, "seed: null"),
        ({"id": "../../etc"}, "id: "),
        ({"surplus": 1}, "surplus: unknown name"),
        ({"memory": 5}, "memory: an object"),
        ({"timing": {"train_seconds": None}}, "timing.train_seconds: unknown name"),
        ({"curve": {"step_loss": ["a"], "epochs": []}}, "curve.step_loss: a list"),
        ({"config": {"x": object()}}, "object"),
    ],
)
def test_a_wrong_shape_is_named_and_not_written(tmp_path, change, complaint):
    with pytest.raises(records.RecordError) as caught:
        records.write_record({**full_record(), **change}, tmp_path)
    assert complaint in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_the_hash_leaves_out_what_changes_no_figure():
    base = records.config_hash(CONFIG)
    same = {
        **CONFIG,
        "results_dir": "x",
        "data_dir": "y",
        "wandb": {"mode": "offline"},
        "debug": True,
        "resume": True,
    }
    assert records.config_hash({**dict(reversed(same.items())), "certificate": "skip"}) == base
    for change in ({"seed": 1}, {"precision": "fp64"}, {"model": {**CONFIG["model"], "n": 32}}):
        assert records.config_hash({**CONFIG, **change}) != base


def test_omegaconf_and_plain_configurations_agree():
    from omegaconf import OmegaConf

    config = OmegaConf.create(CONFIG)
    assert records.config_hash(config) == records.config_hash(CONFIG)
    assert records.new_record(config)["config"] == CONFIG


def test_a_group_without_a_name_is_refused():
    with pytest.raises(records.RecordError, match=r"config\.model"):
        records.new_record({**CONFIG, "model": {"n": 4}})


def test_ids_are_unique_and_plain_file_names():
    ids = {records.new_id("s4", "a/b c", "") for _ in range(1000)}
    assert len(ids) == 1000
    assert all("/" not in name and " " not in name for name in ids)


def test_damaged_and_foreign_files_are_reported_by_name_and_the_rest_is_read(tmp_path):
    path = records.write_record(full_record(), tmp_path)
    text = path.read_text()
    (tmp_path / "half.json").write_text(text[: len(text) // 2])
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "future.json").write_text(text.replace('"schema": 2', '"schema": 9'))
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "copy.json").write_text(text)
    (tmp_path / ".hidden.json").write_text("{")
    records.write_certificate(certificate(), tmp_path)
    found, warnings = records.read_records(tmp_path, recursive=True)
    assert [record["id"] for record in found] == [path.stem]
    assert len(warnings) == 7
    for name in ("half", "empty", "bytes", "list", "future", "folder"):
        assert sum(f"{name}.json" in warning for warning in warnings) == 1
    with pytest.raises(records.RecordError, match="schema: 9 is unknown"):
        records.read_record(tmp_path / "future.json")


def test_a_record_of_schema_1_is_read_without_an_algorithm(tmp_path):
    path = records.write_record(full_record(), tmp_path)
    old = json.loads(path.read_text())
    del old["algorithm"]
    path.write_text(json.dumps(old | {"schema": 1}))
    assert records.read_record(path)["algorithm"] is None
    (tmp_path / "bad.json").write_text(json.dumps(old))  # schema 2 says it
    with pytest.raises(records.RecordError, match="algorithm: missing"):
        records.read_record(tmp_path / "bad.json")


def test_recursion_is_asked_for(tmp_path):
    records.write_record(full_record(), tmp_path / "a" / "b")
    assert records.read_records(tmp_path) == ([], [])
    assert len(records.read_records(tmp_path, recursive=True)[0]) == 1
    with pytest.raises(records.RecordError, match="no such folder"):
        records.read_records(tmp_path / "absent")


def test_find_done_wants_ok_configuration_code_versions_and_machine(tmp_path):
    record = full_record()
    assert records.find_done(tmp_path / "absent", record) is None
    path = records.write_record(record, tmp_path)
    failed = full_record()
    records.set_status(failed, "failed", "why")
    records.write_record(failed, tmp_path)
    assert records.find_done(tmp_path, record) == path
    package = next(iter(record["versions"]))
    assert records.find_done(tmp_path, record | {"versions": {package: record["versions"][package]}}) == path
    for other in (
        {"config_hash": "other"},
        {"code": {**record["code"], "hash": "other"}},
        {"versions": {**record["versions"], package: "0.0"}},
        {"machine": {**record["machine"], "cpu": "Other"}},
        {"device": "gpu" if record["device"] == "cpu" else "cpu"},
        {"threads": 99},
    ):
        assert records.find_done(tmp_path, record | other) is None, other


def test_certificates_round_trip_and_are_checked(tmp_path):
    path = records.write_certificate(certificate(), tmp_path)
    assert path == tmp_path / "certificates" / "s4-abc.json"
    assert records.read_certificate(tmp_path, "s4-abc") == certificate()
    assert records.read_certificate(tmp_path, "other") is None
    assert records.read_certificates(tmp_path) == ([certificate()], [])
    assert records.read_certificates(tmp_path / "absent") == ([], [])
    with pytest.raises(records.RecordError, match="passed"):
        records.write_certificate({**certificate(), "passed": "yes"}, tmp_path)
    with pytest.raises(records.RecordError, match="file name"):
        records.read_certificate(tmp_path, "../s4-abc")
    path.write_text("{")
    with pytest.raises(records.RecordError, match=r"s4-abc\.json"):
        records.read_certificate(tmp_path, "s4-abc")


def test_a_results_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(records.RecordError, match="is a file") as caught:
            records.check_writable(folder)
        assert str(folder) in str(caught.value)
        assert "results_dir" in str(caught.value)


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    records.check_writable(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == []


def test_a_read_only_folder_is_refused():
    code = """
import os, sys
from bench.store.records import RecordError, check_writable
if os.geteuid() == 0:
    os.setuid(65534)  # rights do not bind root
try:
    check_writable(sys.argv[1])
except RecordError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: another user has to reach it
        os.chmod(name, 0o555)
        command = [sys.executable, "-c", code, name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert name in done.stdout
        assert "may not write" in done.stdout
        assert os.listdir(name) == []


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_nothing_behind_and_the_other_records_intact(tmp_path, monkeypatch, call):
    kept = records.write_record(full_record(), tmp_path)
    before = kept.read_bytes()
    record = full_record()
    original, calls = os.write, []

    def full(*arguments):
        calls.append(arguments)
        if call == "write" and len(calls) == 1:  # half of it still fits
            return original(arguments[0], arguments[1][: len(arguments[1]) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(records.RecordError, match=r"disk .* is full") as caught:
        records.write_record(record, tmp_path)
    monkeypatch.undo()
    assert str(tmp_path) in str(caught.value)
    assert os.listdir(tmp_path) == [kept.name]
    assert kept.read_bytes() == before


def test_ctrl_c_while_writing_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    records.check_writable(tmp_path)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        records.write_record(full_record(), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = 2 * PROBE_BYTES
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a small tmpfs can be mounted by root only")
    try:
        written = []
        with pytest.raises(records.RecordError, match="is full") as caught:  # noqa: PT012 - one of many writes
            for _ in range(1000):
                written.append(records.write_record(full_record(), disk).name)
        assert str(disk) in str(caught.value)
        assert sorted(os.listdir(disk)) == sorted(written)
        assert len(records.read_records(disk)[0]) == len(written) > 10
        with pytest.raises(records.RecordError, match="is full"):
            records.check_writable(disk)  # told before a run, not after it
    finally:
        subprocess.run(["umount", str(disk)], check=True)


WRITER = """
import sys
sys.path.insert(0, "tests")
from bench.store import records
from test_records import full_record
print("ready", flush=True)
sys.stdin.readline()
while True:
    record = full_record()
    record["curve"]["step_loss"] = [0.1] * 20000  # 200 kB: a kill often lands in the middle
    for note in ("one", "two"):  # a new file, then a rewritten one
        record["notes"] = [note]
        records.write_record(record, sys.argv[1])
"""


def test_kill_9_while_writing_leaves_only_whole_records(tmp_path):
    generator = np.random.default_rng(0)
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    for writer in writers:
        with writer:
            assert writer.stdout.readline() == "ready\n"
            writer.stdin.write("go\n")
            writer.stdin.flush()
            time.sleep(float(generator.uniform(0.1, 0.4)))
            writer.send_signal(signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL
    found, warnings = records.read_records(tmp_path)
    assert warnings == []
    assert len(found) >= len(writers)
    assert all(len(record["curve"]["step_loss"]) == 20000 for record in found)
    assert len(found) == len(list(tmp_path.glob("*.json")))


MANY = """
import sys
sys.path.insert(0, "tests")
from bench.store import records
from test_records import full_record
for _ in range(25):
    record = full_record()
    record["notes"] = [sys.argv[2]]
    print(records.write_record(record, sys.argv[1]).stem)
"""


def test_eight_processes_write_into_one_folder(tmp_path):
    folder = tmp_path / "made" / "by all at once"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(folder), str(number)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    written = {}
    for number, writer in enumerate(writers):
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        written |= {name: str(number) for name in out.split()}
    found, warnings = records.read_records(folder)
    assert warnings == []
    assert len(written) == 200
    assert {record["id"]: record["notes"][0] for record in found} == written
    assert len(os.listdir(folder)) == 200
