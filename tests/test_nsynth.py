"""NSynth on small folders in its published format: values, parts, protocols, archives, damage."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sound_files import NSYNTH, PARTS, cut, emptied, refused, write_wav

from datasets import registry


def made_nsynth(data_dir: Path) -> dict[str, tuple[np.ndarray, int]]:
    random = np.random.default_rng(1)
    notes = {}
    for part, count in (("nsynth-train", 11), ("nsynth-valid", 3), ("nsynth-test", 2)):
        entries = {}
        for index in range(count):
            name = f"note_{part[7:]}_{index:03d}-060-100"
            samples = random.integers(-32768, 32768, 64_000).astype(np.int16)
            write_wav(data_dir / part / "audio" / f"{name}.wav", samples)
            entries[name] = {"instrument_family": index, "instrument_family_str": "any", "sample_rate": 16_000}
            notes[f"{part}/{name}"] = (samples, index)
        (data_dir / part / "examples.json").write_text(json.dumps(dict(reversed(entries.items()))))
    return notes


def test_nsynth_has_its_published_parts(tmp_path: Path) -> None:
    notes = made_nsynth(tmp_path)
    dataset = registry.load(NSYNTH, tmp_path, seed=0)
    assert dict(dataset.description.counts or {}) == {"train": 11, "validation": 3, "test": 2}
    assert (dataset.description.problem.length, dataset.description.problem.classes) == (64_000, 11)
    half = registry.load({**NSYNTH, "seconds": 2}, tmp_path, seed=0)
    for part, folder in zip(PARTS, ("nsynth-train", "nsynth-valid", "nsynth-test"), strict=True):
        own = [notes[name] for name in sorted(notes) if name.startswith(folder)]
        expected = np.stack([samples for samples, _ in own]).astype(np.float32)[:, :, None] / 32768
        np.testing.assert_array_equal(getattr(dataset, part).inputs[:], expected)
        np.testing.assert_array_equal(getattr(half, part).inputs[:], expected[:, :32_000])
        np.testing.assert_array_equal(getattr(dataset, part).targets, [family for _, family in own])
    mixed = registry.load({**NSYNTH, "protocol": "s4torch"}, tmp_path, seed=0)
    assert dict(mixed.description.counts or {}) == {"train": 15, "validation": 1, "test": 1}
    for folder in tmp_path.glob("nsynth-*"):
        shutil.rmtree(folder)
    assert registry.load(NSYNTH, tmp_path, seed=0).description.counts == dataset.description.counts


def packed(data_dir: Path) -> list[Path]:
    archives = []
    for folder in sorted(data_dir.glob("nsynth-*")):
        path = data_dir / f"{folder.name}.jsonwav.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(folder, arcname=folder.name)
        shutil.rmtree(folder)
        archives.append(path)
    return archives


def test_nsynth_archives_are_unpacked_or_refused_when_damaged(tmp_path: Path) -> None:
    """No checksum of them is known: their own is what tells of a flipped byte."""
    made_nsynth(tmp_path)
    victim = packed(tmp_path)[1]
    whole = victim.read_bytes()
    flips = []
    for position in (len(whole) // 3, len(whole) - 6):  # in the sound; in the checksum at the end
        raw = bytearray(whole)
        raw[position] ^= 0x10
        flips.append(bytes(raw))
    for raw in (b"", b"<html>moved</html>", whole[: len(whole) // 2], *flips):
        victim.write_bytes(raw)
        refused(NSYNTH, tmp_path, rf"(?s){victim}: does not unpack .*; put a good copy there")
        assert not (tmp_path / victim.name.partition(".")[0]).exists()
        assert list(tmp_path.glob(".*.tmp")) == []
    victim.write_bytes(whole)
    assert registry.prepare(NSYNTH, tmp_path).counts == {"train": 11, "validation": 3, "test": 2}


def spoil_entry(part: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(data_dir: Path) -> None:
        path = data_dir / part / "examples.json"
        entries = json.loads(path.read_text())
        change(entries)
        path.write_text(json.dumps(entries))

    return spoil


def no_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("")


NOTE = "note_test_001-060-100"


def twice(data_dir: Path) -> None:
    """Two entries of one name, of which JSON readers take the last."""
    path = data_dir / "nsynth-test" / "examples.json"
    path.write_text(path.read_text()[:-1] + f', "{NOTE}": {{"instrument_family": 0}}}}')


NOTES: dict[str, tuple[Callable[[Path], None], str]] = {
    "folder absent": (
        lambda data_dir: shutil.rmtree(data_dir / "nsynth-valid"),
        r"nsynth-valid is not there.*fetch nsynth-valid\.jsonwav\.tar\.gz by hand.*No checksum",
    ),
    "folder empty": (
        lambda data_dir: emptied(data_dir / "nsynth-valid"),
        r"nsynth-valid/examples\.json: is not there; unpack nsynth-valid\.jsonwav\.tar\.gz completely",
    ),
    "sound absent": (
        lambda data_dir: shutil.rmtree(data_dir / "nsynth-test" / "audio"),
        r"nsynth-test/audio: is not there; unpack",
    ),
    "note absent": (
        lambda data_dir: (data_dir / "nsynth-test" / "audio" / f"{NOTE}.wav").unlink(),
        rf"nsynth-test/examples\.json: names {NOTE}, and .*{NOTE}\.wav is not there; unpack",
    ),
    "sound no folder": (
        lambda data_dir: no_folder(data_dir / "nsynth-test" / "audio"),
        r"nsynth-test/audio: cannot be read \(.*; unpack",
    ),
    "name too long for a file": (
        spoil_entry("nsynth-test", lambda entries: entries.update({"x" * 300: entries[NOTE]})),
        r"nsynth-test/examples\.json: names xxx.*\.wav is not there; unpack",
    ),
    "family unknown": (
        spoil_entry("nsynth-test", lambda entries: entries[NOTE].update(instrument_family=11)),
        rf"the instrument_family of {NOTE} is 11; expected 0 to 10; unpack",
    ),
    "family absent": (
        spoil_entry("nsynth-test", lambda entries: entries[NOTE].pop("instrument_family")),
        rf"the instrument_family of {NOTE} is None; expected 0 to 10",
    ),
    "no notes": (spoil_entry("nsynth-test", lambda entries: entries.clear()), r"examples\.json: names no notes"),
    "family true": (
        spoil_entry("nsynth-test", lambda entries: entries[NOTE].update(instrument_family=True)),
        rf"the instrument_family of {NOTE} is True; expected 0 to 10",
    ),
    "note twice": (
        twice,
        rf"examples\.json: cannot be read as JSON \(the name '{NOTE}' stands twice in an object\); unpack",
    ),
    "nested": (
        lambda data_dir: (data_dir / "nsynth-test" / "examples.json").write_text("[" * 100_000),
        r"examples\.json: cannot be read as JSON \(.+\); unpack",
    ),
    "cut list": (
        lambda data_dir: cut(data_dir / "nsynth-test" / "examples.json", 40),
        r"examples\.json: cannot be read as JSON .*unpack nsynth-test\.jsonwav\.tar\.gz again",
    ),
    "short note": (
        lambda data_dir: write_wav(data_dir / "nsynth-test" / "audio" / f"{NOTE}.wav", np.ones(63_999, np.int16)),
        rf"{NOTE}\.wav: it has 63999 samples; expected 64000; unpack",
    ),
}


@pytest.mark.parametrize("damage", NOTES)
def test_incomplete_nsynth_is_refused_with_the_fix(tmp_path: Path, damage: str) -> None:
    made_nsynth(tmp_path)
    spoil, message = NOTES[damage]
    spoil(tmp_path)
    refused(NSYNTH, tmp_path, message)
