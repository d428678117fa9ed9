"""Prepared arrays are whole or absent: damage, kills, two processes at once, changed sources and changed settings."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import ROOT

from datasets import registry
from datasets.data import DataError
from datasets.files import archives
from datasets.store import cache
from datasets.store.cache import Recipe, fingerprint, prepared
from datasets.store.earlier import EARLIER

RECIPE = Recipe("toy", {"length": 3}, [__file__])
CONTENT = np.arange(3 * 5, dtype=np.int16).reshape(5, 3)

# A process that prepares slowly: argument 1 the data_dir, 2 seconds it takes; says "making" when it begins.
SLOW = f"""
import sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import test_cache
def make(folder):
    print("making", flush=True)
    notes = test_cache.make(folder)
    time.sleep(float(sys.argv[2]))
    return notes
from pathlib import Path
found = test_cache.prepared(test_cache.RECIPE, Path(sys.argv[1]), "s", make)
print("sum", int(found.arrays["x"].sum()), flush=True)
"""


def make(folder: Path) -> Mapping[str, Any]:
    array = cache.new_array(folder, "x", np.int16, CONTENT.shape)
    array[:] = CONTENT
    return {"source": "md5:0"}


def refuse(folder: Path) -> Mapping[str, Any]:
    raise AssertionError("made again")


def folder_of(data_dir: Path, source: str = "s") -> Path:
    return data_dir / "prepared" / f"{RECIPE.key}-{source}"


def test_arrays_are_made_once_and_mapped(tmp_path: Path) -> None:
    for way in (make, refuse):
        found = prepared(RECIPE, tmp_path, "s", way)
        np.testing.assert_array_equal(found.arrays["x"], CONTENT)
        assert isinstance(found.arrays["x"], np.memmap)
        assert not found.arrays["x"].flags.writeable
        assert found.notes == {"source": "md5:0"}


def test_settings_code_and_source_each_have_arrays_of_their_own(tmp_path: Path) -> None:
    other = tmp_path / "code.py"
    other.write_text("1")
    recipes = [RECIPE, Recipe("toy", {"length": 4}, [__file__]), Recipe("toy", {"length": 3}, [str(other)])]
    for recipe in recipes:
        prepared(recipe, tmp_path, "s", make)
    other.write_text("2")
    prepared(recipes[-1], tmp_path, "s", make)
    prepared(RECIPE, tmp_path, "t", make)
    assert len(list((tmp_path / "prepared").glob("toy-*"))) == 5


def test_a_source_that_is_gone_leaves_its_newest_arrays_in_use(tmp_path: Path) -> None:
    prepared(RECIPE, tmp_path, "s", make)
    np.testing.assert_array_equal(prepared(RECIPE, tmp_path, None, refuse).arrays["x"], CONTENT)


@pytest.mark.parametrize("name", ["x.npy", "prepared.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_damaged_arrays_are_noticed_and_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    prepared(RECIPE, tmp_path, "s", make)
    path = folder_of(tmp_path) / name
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[-3] ^= 0xFF
    cut = {"flip": raw, "truncate": raw[:-1], "empty": b""}
    path.unlink() if damage == "remove" else path.write_bytes(cut[damage])
    made = []

    def again(folder: Path) -> Mapping[str, Any]:
        made.append(folder)
        return make(folder)

    np.testing.assert_array_equal(prepared(RECIPE, tmp_path, "s", again).arrays["x"], CONTENT)
    assert len(made) == 1
    prepared(RECIPE, tmp_path, "s", refuse)


@pytest.mark.parametrize("change", [('"md5:0"', '"md5:1"'), ('"bytes": 1', '"bytes": 2'), ('"x.npy"', '"y.npy"')])
def test_a_document_that_says_something_else_is_not_believed(tmp_path: Path, change: tuple[str, str]) -> None:
    """Still JSON, still with every name: only its own checksum tells."""
    prepared(RECIPE, tmp_path, "s", make)
    path = folder_of(tmp_path) / "prepared.json"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    assert not cache.kept(RECIPE, tmp_path)
    assert prepared(RECIPE, tmp_path, "s", make).notes == {"source": "md5:0"}
    assert cache.kept(RECIPE, tmp_path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """An array of objects, put there with every checksum right: it is made anew, and its code does not run."""
    ran = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return (Path.touch, (ran,))

    def hostile(folder: Path) -> Mapping[str, Any]:
        np.save(folder / "x.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
        return {"source": "md5:0"}

    with pytest.raises(DataError, match="reads back damaged"):
        prepared(RECIPE, tmp_path, "s", hostile)
    assert not ran.exists()
    np.testing.assert_array_equal(prepared(RECIPE, tmp_path, "s", make).arrays["x"], CONTENT)


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    def read(folder: Path) -> Mapping[str, Any]:
        make(folder)
        return {"source": (tmp_path / "gone").read_text()}

    with pytest.raises(DataError, match=r"gone: cannot be read"):
        prepared(RECIPE, tmp_path, "s", read)


def test_copied_arrays_are_checked_and_used(tmp_path: Path) -> None:
    """A copy to another machine has other times: its checksums are read, and nothing is made again."""
    prepared(RECIPE, tmp_path, "s", make)
    path = folder_of(tmp_path) / "x.npy"
    os.utime(path, (1, 1))
    np.testing.assert_array_equal(prepared(RECIPE, tmp_path, "s", refuse).arrays["x"], CONTENT)


def test_an_error_while_making_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> Mapping[str, Any]:
        make(folder)
        raise DataError("a bad file")

    with pytest.raises(DataError, match="a bad file"):
        prepared(RECIPE, tmp_path, "s", fail)
    assert [path.name for path in (tmp_path / "prepared").iterdir() if not path.name.endswith(".lock")] == []
    prepared(RECIPE, tmp_path, "s", make)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "prepared").write_text("a file")
    with pytest.raises(DataError, match=r"data_dir=.*cannot be written.*data_dir="):
        prepared(RECIPE, tmp_path, "s", make)


def test_two_processes_at_once_make_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path), "0.5"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said.count(f"sum {CONTENT.sum()}") == 2
    assert said.count("making") == 1


def test_a_killed_process_leaves_nothing_that_is_trusted(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path), "60"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "making\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not folder_of(tmp_path).exists()
    np.testing.assert_array_equal(prepared(RECIPE, tmp_path, "s", make).arrays["x"], CONTENT)
    assert list((tmp_path / "prepared").glob(".*.tmp")) == []  # what the killed one left is cleared away


def test_a_fingerprint_tells_of_changed_and_of_new_files(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    file = tmp_path / "file"
    file.write_text("1")
    seen = {fingerprint(tmp_path / "a", file)}
    os.utime(file, ns=(1, 1))
    seen.add(fingerprint(tmp_path / "a", file))
    file.write_text("22")
    os.utime(file, ns=(1, 1))
    seen.add(fingerprint(tmp_path / "a", file))
    (below / "new").write_text("")
    os.utime(below, ns=(2, 2))
    seen.add(fingerprint(tmp_path / "a", file))
    assert len(seen) == 4
    assert fingerprint(tmp_path / "a", file) in seen


# --- arrays of an earlier version


def recipes_of_today(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> set[str]:
    """The names, without EARLIER, of what the data sets would prepare by their configurations; nothing is made."""
    names = set()

    class Names(dict[str, str]):
        def get(self, own: str, default: Any = None) -> Any:
            names.add(own)
            return default

    def nothing(*_: Any) -> Any:
        raise DataError("not now")

    monkeypatch.setattr(cache, "EARLIER", Names())
    monkeypatch.setattr(cache, "_fill", nothing)
    monkeypatch.setattr(archives, "download", nothing)
    for path in (ROOT / "conf" / "dataset").glob("*.yaml"):
        settings = yaml.safe_load(path.read_text())
        for difficulty in ("easy", "intermediate", "hard"):
            with contextlib.suppress(DataError):
                registry.prepare(settings | ({"difficulty": difficulty} if "difficulty" in settings else {}), data_dir)
    return names


def test_what_is_said_of_an_earlier_version_is_said_of_todays_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that fails: where that code still makes the same arrays, write down its new name, or else take it out."""
    assert set(EARLIER) - recipes_of_today(monkeypatch, tmp_path) == set()
    assert len(set(EARLIER.values())) == len(EARLIER)
    assert all(now.rpartition("-")[0] == then.rpartition("-")[0] != "" for now, then in EARLIER.items())


def test_arrays_of_an_earlier_version_are_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It named the folder by the glance, and noted none."""
    source = tmp_path / "source"
    source.write_text("1")
    prepared(RECIPE, tmp_path, fingerprint(source), make)
    (folder,) = (tmp_path / "prepared").glob(f"{RECIPE.key}-*")
    document = json.loads((folder / "prepared.json").read_text())
    del document["glance"]
    (folder / "prepared.json").write_text(json.dumps(document))
    folder.rename(folder.with_name(f"toy-0123456789ab-{fingerprint(source).glance}"))
    assert not cache.kept(RECIPE, tmp_path)
    monkeypatch.setattr(cache, "EARLIER", {RECIPE.key: "toy-0123456789ab"})
    for known in (fingerprint(source), None):
        np.testing.assert_array_equal(prepared(RECIPE, tmp_path, known, refuse).arrays["x"], CONTENT)
    source.write_text("22")
    with pytest.raises(AssertionError, match="made again"):
        prepared(RECIPE, tmp_path, fingerprint(source), refuse)
