"""The schema closed: each field of a record refuses what is not of its kind or out of its range, written or read, and
fields that contradict each other; a folder with such files still gives its tables.
"""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from commands import joined
from test_records import certificate, full_record
from test_table import record

from bench import table
from bench.store import records, schema
from bench.views import growth

ROOT = Path(__file__).parents[1]
HUGE = 10**400  # a whole number that no float can hold

# kind -> values that it takes, and values that it refuses; everywhere besides: JUNK
KINDS: dict[str, tuple[list[Any], list[Any]]] = {
    "amount": ([0, 0.0, 0.5, 3], [-1, -1e-9, "64", True, HUGE]),
    "bound": ([1e-9, 1], [0, -1e-4, "1e-4", True, HUGE]),
    "share": ([0, 1, 0.5], [2.5, 1.0000001, -0.1, 98, "0.5", True]),
    "processes": ([[[0.5], [1.0]], []], [[0.5], [[-1.0]], [["1"]], 3]),
    "loss": ([0, 2.3, -1e-9], [-0.1, "2.3", False, HUGE]),
    "whole": ([0, 64], [-1, 64.0, 1.5, "64", True, HUGE]),
    "count": ([1, 64], [0, -1, 64.0, "64", True, HUGE]),
    "text": (["", "a b"], [1, True, 0.5]),
    "name": (["s4"], ["", "  ", 4, True]),
    "id": (["20250101T000000-s4-x", "a"], ["", "../a", "a b", ".a", "a/b", "ä", 4]),
    "hash": (["0123456789abcdef" * 4], ["", "a" * 63, "a" * 65, "g" * 64, "A" * 64, 1]),
    "commit": (["a" * 40, "a" * 64], ["a" * 39, "HEAD", "z" * 40, 1]),
    "flag": ([True, False], [0, 1, "true"]),
    "status": (list(schema.STATUSES), ["done", "OK", "", 1]),
    "precision": (["fp32", "fp64", "tf32", "bf16"], ["fp16", "float32", "", 32]),
    "device": (["cpu", "gpu"], ["tpu", "cuda", "", 0]),
    "moment": (
        ["2025-01-31T23:59:00+00:00", "2025-01-31T23:59:00.5+00:00"],
        ["yesterday", "2025-01-31", "2025-02-31T00:00:00+00:00", "2025-01-31T23:59:00", "2025-01-31T23:59:00+01:00", 1],
    ),
    "object": ([{}, {"a": 1}], ["a", 1, True]),
    "amounts": ([[], [0, 0.5]], [[-1], ["1"], [True], [None], 0.5]),
    "losses": ([[], [2.3, None]], [[-1], ["1"], [True], 0.5]),
    "texts": ([[], ["a"]], [[1], [None], "a"]),
    "names": ([[], ["HOME"]], [[1], [None], [""], "a"]),
    "variables": ([{}, {"OMP_X": "1", "LD_X": ""}], [{"OMP_X": 1}, {"OMP_X": None}, {"": "2"}, "2"]),
    "versions": ([{}, {"torch": "2", "jax": None}], [{"torch": 2}, {"torch": ""}, {"": "2"}, "2"]),
    "calls": ([{}, {"train_step": 0.5, "evaluate": 1}], [{"train_step": -1}, {"train": 1.0}, {"forward": "1"}, 0.5]),
}
JUNK: list[Any] = [[[]], [{}], {"unheard": -1}]


def kind_of(path: str) -> str:
    """What a field must be, by its place."""
    name = path.rpartition(".")[2]
    own = {
        **{"schema": "count", "id": "id", "created": "moment", "status": "status", "message": "name", "seed": "whole"},
        **{"config": "object", "config_hash": "hash", "code.commit": "commit", "code.hash": "hash"},
        **{"versions": "versions", "device": "device", "threads": "count", "notes": "texts", "certificate.id": "id"},
        **{f"data.{size}": "count" for size in ("length", "channels", "classes")},
        **{f"data.{part}": "whole" for part in ("train", "validation", "test")},
        **{"parameters.count": "whole", "parameters.bytes": "whole", "memory.source": "name"},
        **{"timing.first_call_seconds": "calls", "curve.step_loss": "losses", "curve.epochs.rate_scale": "amount"},
        **{"accuracy.validation": "share", "accuracy.test": "share", "certificate.error": "amount"},
        **{"machine.cpu": "text", "machine.system": "text", "machine.python": "text", "certificate.bound": "bound"},
        **{"machine.gpu.name": "text", "machine.gpu.driver": "text", "data.protocol": "name"},
        **{"curve.epochs.epoch": "count", "curve.epochs.step": "count"},
        **{"environment.values": "variables", "environment.dropped": "names", "environment.names": "names"},
    }
    if path in own:
        return own[path]
    if name.endswith("_accuracy"):
        return "share"
    if path.startswith("loss.") or name.endswith("_loss"):
        return "loss"
    if name.endswith("_bytes"):
        return {"memory": "whole", "machine": "count", "operations": "amount"}[path.partition(".")[0]]
    groups = {
        "amount": ("median", "iqr", "seconds", *(f"{part}_seconds" for part in ("import", "build", "compile", "data"))),
        "processes": ("by_process",),
        "count": ("cores", "logical_cores", "usable_cores", "steps_per_round"),
        "flag": ("dirty", "selects_on_test", "generated", "passed"),
        "name": ("task", "model", "algorithm", "framework", "dataset"),
        "amounts": ("samples",),
        "precision": ("precision",),
    }
    if name.endswith(("_flops", "_per_second", "step_seconds", "evaluation_seconds")):
        return "amount"
    return next(kind for kind, names in groups.items() if name in names)


def leaves(section: schema.Section, path: str = "") -> list[tuple[str, Any]]:
    """Every field that is no section itself, by dotted name, and its check."""
    found: list[tuple[str, Any]] = []
    for name, inner in section.items():
        inner = inner.section if isinstance(inner, schema.Each) else inner
        found += leaves(inner, f"{path}{name}.") if isinstance(inner, dict) else [(path + name, inner)]
    return found


def whole_record() -> dict[str, Any]:
    """A record in which no section is null."""
    made = full_record()
    made["timing"]["recurrent_step_seconds"] = made["timing"]["forward_seconds"]
    made["machine"]["gpu"] = {"name": "a GPU", "memory_bytes": 2**36, "driver": "1.2"}
    made["data"] = {"length": 64, "channels": 1, "classes": 10, "train": 9, "validation": 1, "test": 5}
    made["environment"] = {"values": {}, "dropped": [], "names": ["HOME"]}
    made["loss"] = {"train": 1.0, "validation": 1.5, "test": 1.6}
    made["operations"] = dict.fromkeys(schema.RECORD["operations"], 1e6)
    made["ledger"] = dict.fromkeys(schema.RECORD["ledger"], 0.5)
    made = schema.filled(records.plain(made), schema.RECORD)
    assert records.validate(made) == []
    return made


def with_value(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = section = deepcopy(document)
    *outer, last = path.split(".")
    for name in outer:
        section = section[name]
        section = section[0] if isinstance(section, list) else section
    section[last] = value
    return changed


def refused_in_a_file(document: dict[str, Any], folder: Path) -> str:
    """What reading says of a file that was written by something else."""
    (folder / f"{full_id(document)}.json").write_text(json.dumps(document))
    found, warnings = records.read_records(folder)
    assert found == []
    return "\n".join(warnings)


def full_id(document: dict[str, Any]) -> str:
    known = isinstance(document["id"], str) and re.fullmatch(r"\w[\w-]*", document["id"])
    return document["id"] if known else "x"


@pytest.mark.parametrize("path, check", leaves(schema.RECORD), ids=[path for path, _ in leaves(schema.RECORD)])
def test_each_field_has_its_kind_and_its_range_written_and_read(path, check, tmp_path):
    good, bad = KINDS[kind_of(path)]
    assert [value for value in good if check(value) is not None] == []
    whole = whole_record()
    for value in [*bad, *(junk for junk in JUNK if junk not in good and kind_of(path) != "object")]:
        changed = with_value(whole, path, value)
        own = re.escape(path).replace(r"epochs\.", r"epochs(, entry 1)?\.")
        with pytest.raises(records.RecordError, match=rf"(^|: |; ){own}: "):
            records.write_record(changed, tmp_path)
        assert list(tmp_path.iterdir()) == []
    assert re.search(rf"(^|: |; ){own}: ", refused_in_a_file(with_value(whole, path, bad[0]), tmp_path))


def test_what_was_measured_here_passes():
    """Every record and certificate of this repository; none of them was made for these rules."""
    folder = ROOT / "results" / "reference"
    for read in (records.read_records, records.read_certificates):
        found, warnings = read(folder)
        assert warnings == []
        assert len(found) > 20


SPREAD = {"median": 2.0, "iqr": 0.5, "samples": [1.5, 2.0, 2.5]}
CONTRADICTIONS: list[tuple[str, Any, str]] = [
    ("timing.train_step_seconds.median", 3.0, r"timing\.train_step_seconds\.median: 3\.0, but .* 2\.0"),
    ("timing.train_step_seconds.median", 2.1, r"\.median: 2\.1"),  # inside the samples, and not theirs
    ("timing.train_step_seconds.iqr", 0.4, r"\.iqr: 0\.4"),
    ("timing.train_step_seconds.median", None, r"\.median: None"),
    ("timing.forward_seconds.single.median", 1.0, r"timing\.forward_seconds\.single\.median: 1\.0"),
    ("timing.compile_seconds", SPREAD | {"samples": []}, r"compile_seconds\.median: 2\.0, but no samples"),
    ("timing.compile_seconds", SPREAD | {"samples": None}, r"compile_seconds\.median: 2\.0, but no samples"),
    ("config_hash", "0" * 64, r"config_hash: 000"),
    ("model", "s5", r"model: 's5', but config\.model is 's4'"),
    ("dataset", "smnist", r"dataset: 'smnist', but config\.dataset is 'digits'"),
    ("framework", "jax", r"framework: 'jax', but"),
    ("task", "train", r"task: 'train', but"),
    ("precision", "fp64", r"precision: 'fp64', but config\.precision is 'fp32'"),
    ("seed", 1, r"seed: 1, but config\.seed is 0"),
    ("config.task", "time", r"task: 'time', but config\.task is 'time'"),
    ("config.task.batch_size", 16.0, r"config\.task\.batch_size: a whole number"),
    ("config.task.batch_size", "16", r"config\.task\.batch_size: a whole number"),
    ("config.task.length", 0, r"config\.task\.length: a whole number"),
    ("config.framework.compile", ["none"], r"config\.framework\.compile: a string"),
    ("memory.steady_peak_bytes", 6, r"steady_peak_bytes: 6, above the peak of the whole run, 5"),
    ("code.commit", None, r"code\.dirty: False without a commit"),
    ("certificate.error", 1e-3, r"certificate\.passed: true, but its error is 0\.001"),
    ("certificate.error", None, r"certificate\.passed: true, but its error is None"),
    ("curve.epochs.step", 3, r"curve\.epochs: step 3, but step_loss has 2 steps"),
    ("message", "why", r"message: 'why' with status 'ok'"),
    ("status", "failed", r"message: None with status 'failed'"),
]


@pytest.mark.parametrize("path, value, complaint", CONTRADICTIONS)
def test_fields_that_contradict_each_other_are_refused(path, value, complaint, tmp_path):
    changed = with_value(whole_record(), path, value)
    if path.startswith("config."):
        changed["config_hash"] = records.config_hash(changed["config"])
    with pytest.raises(records.RecordError, match=complaint):
        records.write_record(changed, tmp_path)
    assert re.search(complaint, refused_in_a_file(changed, tmp_path))


@pytest.mark.parametrize("name", ["epoch", "step"])
@pytest.mark.parametrize("second", [1, 2])
def test_a_curve_goes_forward(name, second, tmp_path):
    changed = whole_record()
    first = changed["curve"]["epochs"][0] | {"epoch": 2, "step": 2}
    later = first | {"epoch": 3, "step": 3} | {name: second}
    changed["curve"] = {"step_loss": [2.0, 1.0, 0.5], "epochs": [first, later]}
    with pytest.raises(records.RecordError, match=rf"curve\.epochs: {name} does not rise"):
        records.write_record(changed, tmp_path)
    changed["curve"]["epochs"][1] = first | {"epoch": 3, "step": 3}
    records.write_record(changed, tmp_path)


def test_round_off_is_no_contradiction(tmp_path):
    changed = whole_record()
    step = changed["timing"]["train_step_seconds"] | {"median": 2.0 + 4e-16, "iqr": 0.5 - 1e-16}
    changed["timing"]["train_step_seconds"] = step
    records.write_record(changed, tmp_path)


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"passed": False}, "passed: False, but every error is within its bound"),
        ({"error": 1e-9}, "error: 1e-09, but the largest of outputs, logits, loss, gradients is 1e-08"),
        ({"error": None}, "error: None, but"),
        ({"error": -1.0}, "error: a finite number of 0 or more"),
        ({"errors": None}, "passed: True, but not every error"),
        ({"errors": {}}, "passed: True, but not every error"),
        ({"precision": "fp16"}, "precision: one of fp32"),
        ({"config_hash": "c"}, "config_hash: 64 hexadecimal digits"),
        ({"code_hash": None}, "code_hash: null"),
        ({"versions": {"torch": 2}}, "versions: an object, each name"),
        ({"machine": {"cores": 0}}, r"machine\.cores: a whole number of 1 or more"),
        ({"created": "today"}, "created: a time in UTC"),
        ({"unheard": 1}, "unheard: unknown name"),
    ],
)
def test_a_certificate_is_held_to_its_errors_and_bounds(change, complaint, tmp_path):
    with pytest.raises(records.RecordError, match=complaint):
        records.write_certificate(certificate() | change, tmp_path)
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "s4-abc.json").write_text(json.dumps(certificate() | change))
    found, warnings = records.read_certificates(tmp_path)
    assert found == []
    assert len(warnings) == 1


@pytest.mark.parametrize("group", ["outputs", "parameters_10"])
@pytest.mark.parametrize("error", [2e-4, None, float("inf")])
def test_a_certificate_with_an_error_out_of_bounds_has_not_passed(group, error, tmp_path):
    made = certificate()
    made["errors"] = {**made["errors"], group: {"error": error, "bound": 1e-4, "worst": "x"}}
    if group == "outputs":
        made["error"] = error
    with pytest.raises(records.RecordError, match="passed: True, but not every error is within its bound"):
        records.write_certificate(made, tmp_path)
    records.write_certificate(made | {"passed": False}, tmp_path)


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ('"seed": 0,', '"seed": 0, "seed": 0,', "the name 'seed' stands twice"),
        ('"threads": 2', '"threads": NaN', "NaN is no JSON number"),
        ('"threads": 2', '"threads": Infinity', "Infinity is no JSON number"),
        ('"threads": 2', '"threads": 1e999', "threads: a whole number"),
        ('"test": 0.8', '"test": -Infinity', "-Infinity is no JSON number"),
        ('"test": 0.8', '"test": 1e999', r"accuracy\.test: a number from 0 to 1"),
        ('"test": 0.8', f'"test": {"9" * 5000}', "not a whole JSON file"),
        ('"schema": 2', '"schema": 2.0', "schema: a whole number"),
        ('"schema": 2', '"schema": true', "schema: True is unknown"),
        ('"notes": []', f'"notes": {"[" * 100_000}', "not a whole JSON file"),
        ('"notes": []', f'"notes": {"[" * 700}{"]" * 700}', "notes: a list, each entry a string"),
        ('"dropout": 0.0', f'"dropout": {"[" * 700}{"]" * 700}', "too deep|config_hash"),
    ],
)
def test_what_json_does_not_know_is_refused_by_the_file_s_name(old, new, complaint, tmp_path):
    path = records.write_record(full_record(), tmp_path)
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))
    found, (warning,) = records.read_records(tmp_path)
    assert found == []
    assert path.name in warning
    assert re.search(complaint, warning)


def test_a_record_lies_under_its_own_id(tmp_path):
    path = records.write_record(full_record(), tmp_path)
    path.rename(tmp_path / "other.json")
    with pytest.raises(records.RecordError, match=rf"other\.json: its id is {path.stem}; rename the file"):
        records.read_record(tmp_path / "other.json")
    proof = records.write_certificate(certificate(), tmp_path)
    proof.rename(proof.with_name("other.json"))
    with pytest.raises(records.RecordError, match=r"other\.json: its id is s4-abc"):
        records.read_certificate(tmp_path, "other")


def test_a_number_of_a_configuration_that_is_not_finite_leaves_its_hash_whole(tmp_path):
    made = record("torch")
    made = records.new_record({**made["config"], "model": {"name": "s4", "dt_max": float("inf")}})
    assert records.read_record(records.write_record(made, tmp_path))["config"]["model"]["dt_max"] is None


# --- tables of a folder in which not every file is right


def test_a_table_names_each_file_that_is_left_out_and_shows_the_rest(tmp_path, capsys):
    records.write_record(record("torch"), tmp_path)
    changes = {"accuracy": {"validation": 0.9, "test": 2.5}, "throughput": {"samples_per_second": -1.0}}
    bad = {}
    for name, value in changes.items():
        path = records.write_record(record("jax", model="dss"), tmp_path)
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
        bad[name] = path
    renamed = records.write_record(record("jax", model="s5"), tmp_path)
    renamed.rename(tmp_path / "renamed.json")
    assert table.main([str(tmp_path)]) == 0
    shown = capsys.readouterr()
    said = joined(shown.err)
    for path in (*bad.values(), tmp_path / "renamed.json"):
        assert re.search(rf"left out:\s+{re.escape(str(path))}", said)
    assert "accuracy.test" in said
    assert "throughput.samples_per_second" in said
    assert "its id is" in said
    assert "s4" in shown.out
    assert not re.search(r"\b(dss|s5)\b", shown.out)


LACKING = ("data", "machine", "certificate", "throughput", "memory", "code", "device", "threads", "operations")


@pytest.mark.parametrize("form", ["markdown", "csv"])
@pytest.mark.parametrize("task", ["time", "train"])
def test_a_record_without_its_optional_sections_leaves_whole_numbers_whole(form, task, tmp_path, capsys):
    made = [record(name, task=task) for name in ("torch", "jax")]
    made.append(record("torch", task=task, model="dss") | dict.fromkeys(LACKING))
    made.append(record("torch", task=task, model="s5") | dict.fromkeys(("timing", "curve", "accuracy", "loss")))
    bare = record("jax", task=task, model="s5")
    bare["config"]["task"] = {"name": task}  # no batch size, no length
    bare["config_hash"] = records.config_hash(bare["config"])
    made.append(bare | dict.fromkeys(LACKING))
    for one in made:
        records.write_record(one, tmp_path)
    assert table.main([str(tmp_path), "--format", form]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert not re.search(r"\b(64|16)\.0\b(?! ms)|nan|<NA>|None", shown.out)
    if form == "markdown":
        assert re.search(r"\b16\b", shown.out)
        assert "–" in shown.out


def test_growth_passes_over_records_that_state_no_length_or_took_no_time():
    def at(length, seconds, **changes):
        return record("torch", step=(seconds,) * 5, data={"length": length, "channels": 1, "classes": 10}, **changes)

    known = [at(64, 0.01), at(128, 0.02)]
    for length, made in zip((64, 128), known, strict=True):
        made["config"]["task"]["length"] = length
    lacking = [record("torch") | {"data": None}, at(64, 0.0), at(None, 0.01), record("torch") | {"timing": None}]
    assert len(growth.exponents([*known, *lacking])) == len(growth.exponents(known)) == 1
