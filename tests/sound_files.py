"""Makers of small sound data sets in their published formats, for the tests of sound."""

from __future__ import annotations

import dataclasses
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import DataError, registry, speechcommands10

TEN = {"name": "speechcommands10", "protocol": "default", "rate": 16000}
ALL = {"name": "speechcommands", "protocol": "default", "rate": 16000}
REPEATED = {"name": "repeated_speechcommands10", "protocol": "default"}
NSYNTH = {"name": "nsynth", "protocol": "default", "seconds": 4}
PER_WORD = 12  # one for validation, two for testing, and one of the others is short
SHORT = 9_000
PARTS = ("train", "validation", "test")
COUNTS = {"train": 9, "validation": 1, "test": 2}  # of a single word


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000, channels: int = 1, width: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def made_speech(folder: Path, words: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The published layout with PER_WORD clips a word; each clip's samples by its name."""
    random = np.random.default_rng(0)
    clips = {}
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for word in words:
        for index in range(PER_WORD):
            name = f"{word}/{index:08x}_nohash_0.wav"
            clips[name] = random.integers(-32768, 32768, SHORT if index == 5 else 16_000).astype(np.int16)
            write_wav(folder / name, clips[name])
            if index < 3:
                lists["validation_list.txt" if index == 0 else "testing_list.txt"].append(name)
    for file, names in lists.items():
        (folder / file).write_text("".join(f"{name}\n" for name in names))
    write_wav(folder / "_background_noise_" / "running_tap.wav", random.integers(-9, 9, 99_999).astype(np.int16))
    return clips


def with_words(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """These words take the place of the ten."""
    few = dataclasses.replace(speechcommands10.SET, words=words)
    for function in ("describe", "prepare", "load", "class_names"):
        monkeypatch.setattr(speechcommands10, function, getattr(few, function))


def padded(samples: np.ndarray) -> np.ndarray:
    return np.pad(samples, (0, 16_000 - len(samples)))


def refused(settings: dict[str, Any], data_dir: Path, message: str) -> str:
    """What the DataError says, which has the pattern `message`; the cache holds nothing of the attempt."""
    with pytest.raises(DataError, match=message) as raised:
        registry.prepare(settings, data_dir)
    assert [path for path in data_dir.glob("prepared/*") if path.suffix != ".lock"] == []
    return str(raised.value)


def emptied(folder: Path) -> None:
    """The folder is there, with nothing in it."""
    shutil.rmtree(folder)
    folder.mkdir()


def cut(path: Path, size: int) -> None:
    """The file's first `size` bytes."""
    path.write_bytes(path.read_bytes()[:size])
