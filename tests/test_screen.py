"""Every command under every encoding of its output, into a pipe that is closed, and onto a full disk; UTF-8 in files.

The commands are found by their `__main__` guard, and calls that open text files by ast: a new one is held to the same.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_table import record

from bench.runs import job
from bench.store import records
from bench.store.outcome import Outcome
from run import Session
from settings import screen

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([ROOT / "run.py", *(p for name in ("bench", "datasets", "ssm") for p in (ROOT / name).rglob("*.py"))])
MODELS = sorted(path for name in ("models_jax", "models_torch") for path in (ROOT / name).rglob("*.py"))
PLAIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
ENVIRONMENTS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "cp437": {"PYTHONIOENCODING": "cp437"},
    "ascii:strict": {"PYTHONIOENCODING": "ascii:strict"},
    "C locale": PLAIN,
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
}
ENCODINGS = {name: name.partition(":")[0] if " " not in name else "ascii" for name in ENVIRONMENTS}


def guards(path: Path) -> list[ast.If]:
    """The `if __name__ == "__main__":` of a file."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node for node in body if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)]


COMMANDS = [path for path in [*SOURCES, *MODELS] if guards(path)]


def arguments(path: Path) -> list[str]:
    if path.parent == ROOT:
        return [sys.executable, str(path)]
    return [sys.executable, "-m", ".".join(path.relative_to(ROOT).with_suffix("").parts)]


def said(command: list[str], variables: dict[str, str], **settings) -> subprocess.CompletedProcess[bytes]:
    left_out = ("PYTHONIOENCODING", "PYTHONUTF8", "LC_ALL", "HYDRA_FULL_ERROR")
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | variables
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    return subprocess.run(command, cwd=ROOT, env=environment, timeout=120, check=False, **streams)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Records whose tables hold every sign: equal samples, no certificate, wide ranges, no ratio, marked data."""
    folder = tmp_path_factory.mktemp("resultsü")
    data = {"length": 64, "channels": 1, "classes": 10, "selects_on_test": True, "generated": True}
    for made in (
        record("torch", step=(0.010, 0.020, 0.011, 0.018, 0.012), certificate=None),
        record("jax", step=(0.010, 0.020, 0.011, 0.018, 0.012)),
        record("jax", task="train", data=data),
    ):
        records.write_record(made, folder)
    return folder


def test_there_are_commands_and_each_is_entered_by_the_one_helper():
    names = {str(path.relative_to(ROOT)) for path in COMMANDS}
    assert {"run.py", "bench/table.py", "bench/show.py", "bench/peers.py", "bench/runs/tracking_child.py"} <= names
    for path in COMMANDS:
        (guard,) = guards(path)
        assert "sys.exit(command(" in ast.unparse(guard), path


@pytest.mark.parametrize("name", ["ascii", "C locale"])
@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
@pytest.mark.parametrize("words", [["--help"], ["ü≈†=ü"]], ids=["help", "refusal"])
def test_every_command_speaks_in_any_encoding(path, words, name):
    done = said([*arguments(path), *words], ENVIRONMENTS[name])
    assert b"Traceback" not in done.stderr, done.stderr
    (done.stdout + done.stderr).decode("ascii")
    lines = (done.stdout + done.stderr).decode().splitlines()
    assert max((len(line) for line in lines if "\\x" not in line), default=0) <= 100  # a name is longer in hexadecimal


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_tables_hold_readable_signs_in_any_encoding(results, name):
    done = said([sys.executable, "-m", "bench.table", str(results)], ENVIRONMENTS[name])
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(ENCODINGS[name])
    signs = {sign: sign if encodable(sign, ENCODINGS[name]) else screen.STAND_INS[sign] for sign in "†‡§◊–"}
    for sign in "†‡§◊":
        assert f"- {signs[sign]}: " in text
    assert f" {signs['◊']} {signs['†']} |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) > 5
    assert max(map(len, text.splitlines())) <= 100


def encodable(sign: str, encoding: str) -> bool:
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize("name", ["ascii", "latin-1", "C locale"])
def test_run_shows_and_refuses_names_with_any_letters(tmp_path, name):
    run = [sys.executable, str(ROOT / "run.py"), "'results_dir=\"ü≈\"'".strip("'")]
    shown = said([*run, "--cfg", "job"], ENVIRONMENTS[name])
    assert shown.returncode == 0, shown.stderr
    assert b"results_dir" in shown.stdout
    (tmp_path / "ü≈").write_bytes(b"")
    refused = said([*run[:2], f'results_dir="{tmp_path}/ü≈"'], ENVIRONMENTS[name])
    assert refused.returncode == 2
    assert b"Traceback" not in refused.stderr
    assert b"is a file" in refused.stderr.replace(b"\n  ", b" ")


def test_a_record_of_a_run_with_such_a_folder_is_utf_8_and_is_read_back(tmp_path):
    """What a C locale makes of letters it does not have: each byte a surrogate."""
    made = record("torch")
    made["config"]["results_dir"] = "ü≈".encode().decode("ascii", "surrogateescape")
    path = records.write_record(made, tmp_path)
    path.read_bytes().decode("utf-8")
    assert records.read_record(path)["config"]["results_dir"] == made["config"]["results_dir"]


def test_signs_have_stand_ins_of_their_width_and_marks_stay_apart():
    assert all(len(sign) == len(other) == 1 and other.isascii() for sign, other in screen.STAND_INS.items())
    assert len({screen.STAND_INS[sign] for sign in "≈†‡§◊–"}) == 6
    assert "aü≈b".encode("ascii", "readable") == rb"a\xfc~b"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise")
@pytest.mark.parametrize("words", [["--help"], []], ids=["help", "table"])
@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_reader_that_is_gone_ends_a_command_quietly(path, words, results):
    """The pipe is closed before the first line, which no timing can undo."""
    if not words:
        words = {"table": [str(results)], "run": ["--cfg", "job"]}.get(path.stem, ["--help"])
    read, write = os.pipe()
    os.close(read)
    try:
        done = said([*arguments(path), *words], {"PYTHONUNBUFFERED": ""}, stdout=write)
    finally:
        os.close(write)
    assert done.stderr == b""
    assert done.returncode in (0, screen.CLOSED)  # 0 where it says nothing
    if path.stem in ("table", "run") and words != ["--help"]:  # argparse forgives its own help
        assert done.returncode == screen.CLOSED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_the_output_is_said(results):
    with open("/dev/full", "wb") as full:
        done = said([sys.executable, "-m", "bench.table", str(results)], {}, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith(b"the output cannot be written")
    assert len(done.stderr.splitlines()) == 1


# --- files


def calls_without_encoding(source: str) -> Iterator[str]:
    """Calls that read or write text in the locale's encoding."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function, given = node.func, {keyword.arg: keyword.value for keyword in node.keywords}
        owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if owner in ("os", "wave", "Image", "tarfile", "gzip", "zipfile") and name == "open":
            continue  # bytes
        if "encoding" in given or (name == "write_text" and owner == ""):  # bench.store.files.write_text
            continue
        position = {"open": 0 if owner else 1, "fdopen": 1, "TemporaryFile": 0, "NamedTemporaryFile": 0}
        if name in position:
            default = "w+b" if "Temporary" in name else "r"
            mode = given.get("mode") or next(
                iter(node.args[position[name] : position[name] + 1]), ast.Constant(default)
            )
            text = not (isinstance(mode, ast.Constant) and "b" in str(mode.value))
        elif name in ("read_text", "write_text"):
            text = True
        else:
            text = "text" in given or "universal_newlines" in given
        if text:
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "source, found",
    [
        ("open(p)", True),
        ("open(p, 'w')", True),
        ("open(p, mode=m)", True),
        ("open(p, 'rb')", False),
        ("open(p, encoding='utf-8')", False),
        ("path.open('w')", True),
        ("path.open('wb')", False),
        ("p.read_text()", True),
        ("p.write_text(x)", True),
        ("p.write_text(x, encoding='utf-8')", False),
        ("os.fdopen(1, 'w')", True),
        ("TemporaryFile()", False),
        ("tempfile.TemporaryFile('w+')", True),
        ("subprocess.run(c, text=True)", True),
        ("tarfile.open(p)", False),
    ],
)
def test_the_finder_sees_what_it_must(source, found):
    assert bool(list(calls_without_encoding(source))) is found


@pytest.mark.parametrize("path", [*SOURCES, *MODELS], ids=lambda path: str(path.relative_to(ROOT)))
def test_text_is_read_and_written_in_a_stated_encoding(path):
    assert list(calls_without_encoding(path.read_text(encoding="utf-8"))) == []


# --- a sweep whose reader has gone


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise")
def test_a_sweep_whose_reader_is_gone_ends_with_the_job_and_its_record(monkeypatch, tmp_path):
    """The other jobs would run for nobody."""
    ran = []

    def ending_well(config):
        ran.append(config["seed"])
        return Outcome("s4 torch digits train", "ok", None, tmp_path / "record.json")

    monkeypatch.setattr(job, "_launched", ending_well)
    monkeypatch.chdir(tmp_path)
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", encoding="utf-8", buffering=1) as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # a session sets it, for its process
        status = screen.command(Session(["-m", "seed=0,1,2"]).run)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)  # what is left in the buffer
    assert (status, ran) == (screen.CLOSED, [0])
