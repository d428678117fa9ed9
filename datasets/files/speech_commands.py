"""Speech Commands v0.02: where its folders may lie, the official lists, and its clips as one prepared array.

The published archive unpacks to a folder a word, validation_list.txt and testing_list.txt, with no folder around them.
A part of it will do: what counts is that the words that are asked for have clips, and that the lists name no others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import DataError
from datasets.files import archives, wav
from datasets.files.archives import Archive
from datasets.files.wav import Form
from datasets.store import cache
from datasets.store.cache import Prepared, Recipe
from settings import hidden
from settings.reasons import said

# The order of the official code and of S4Torch, whose place in it is a word's class.
WORDS_10 = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
WORDS_35 = (
    *("bed", "cat", "down", "five", "forward", "go", "house", "left", "marvin", "no", "on", "right", "sheila", "tree"),
    *("up", "visual", "yes", "backward", "bird", "dog", "eight", "follow", "four", "happy", "learn", "nine", "off"),
    *("one", "seven", "six", "stop", "three", "two", "wow", "zero"),
)
RATE = LENGTH = 16_000  # a second of sound
TRAIN, VALIDATION, TEST = range(3)
LISTS = {"validation_list.txt": VALIDATION, "testing_list.txt": TEST}

ARCHIVE = Archive(
    "speech_commands_v0.02.tar.gz",
    ("https://storage.googleapis.com/download.tensorflow.org/data/", "http://download.tensorflow.org/data/"),
    "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    folder="speech_commands_v0.02",
    inside="",
    evidence=tuple(LISTS),
)
# As unpacked by archives.py, by torchaudio, by the official code, by hand, and data_dir itself.
_PLACES = (ARCHIVE.folder, f"SpeechCommands/{ARCHIVE.folder}", "SpeechCommands", "speech_commands", ".")
_FIX = f"put the file of {ARCHIVE.file} there"
_READABLE = f"make its folders and files readable, or unpack {ARCHIVE.file} again"
_CLIP = re.compile(r"[^/]+/[^/]+\.wav")
_FORM = Form(RATE, LENGTH, shorter=True, fix=_FIX)


def clips(words: Sequence[str], data_dir: Path) -> Prepared:
    """The words' clips, found or fetched, checked and prepared once; DataError if that fails.

    arrays, by path in ascending order: samples int16 (N, 16000, 1), zeros after a shorter clip; lengths int32 (N,), its
    own number of samples; labels uint8 (N,), a place in `words`; parts uint8 (N,), TRAIN, VALIDATION or TEST by lists.
    notes: "source", the checksum of all that was read.
    """
    recipe = Recipe("speechcommands", {"words": list(words)}, [__file__, wav.__file__])
    folder = locate(data_dir)
    if folder is None and not cache.kept(recipe, data_dir):
        folder = archives.unpacked(ARCHIVE, data_dir)
    if folder is None:
        source = None
    else:
        try:
            _check_presence(folder, words)
            source = cache.fingerprint(*(folder / name for name in (*LISTS, *words)))
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({said(error)}); {_READABLE}") from error

    def make(into: Path) -> Mapping[str, Any]:
        return _make(into, folder or archives.unpacked(ARCHIVE, data_dir), words)

    return cache.prepared(recipe, data_dir, source, make)


def locate(data_dir: Path) -> Path | None:
    """The first place that holds a list or a word; None where none does."""
    for place in _PLACES:
        # data_dir itself may have a folder "tree" of something else
        evidence = tuple(LISTS) if place == "." else (*LISTS, *WORDS_35)
        if any((data_dir / place / name).exists() for name in evidence):
            return data_dir / place
    own = data_dir / ARCHIVE.folder
    if own.exists():
        raise DataError(
            f"{own}: neither the lists nor a word is in it; unpack {ARCHIVE.file} there, or remove the folder, and it "
            "is fetched and unpacked anew"
        )
    return None


def _check_presence(folder: Path, words: Sequence[str]) -> None:
    for name in LISTS:
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: the list is not there; {_FIX}")
    for word in words:
        if not (folder / word).is_dir():
            raise DataError(f"{folder / word}: the word's folder is not there; unpack {ARCHIVE.file} completely")


def _make(into: Path, folder: Path, words: Sequence[str]) -> Mapping[str, Any]:
    names, labels = _listing(folder, words)
    parts = _parts(folder, words, names)
    samples = cache.new_array(into, "samples", np.int16, (len(names), LENGTH, 1))
    lengths, checksum = wav.fill(samples, [folder / name for name in names], _FORM, "speech commands")
    samples.flush()
    for name, array in (("lengths", lengths), ("labels", labels), ("parts", parts)):
        np.save(into / f"{name}.npy", array)
    return {"source": checksum}


def _listing(folder: Path, words: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """ "word/clip.wav" of all the words' clips, ascending, and their classes."""
    names: list[str] = []
    labels: list[int] = []
    for word in sorted(words):
        try:
            own = [entry for entry in hidden.own(os.listdir(folder / word)) if entry.endswith(".wav")]
        except OSError as error:
            raise DataError(f"{folder / word}: cannot be read ({said(error)}); {_READABLE}") from error
        if not own:
            raise DataError(f"{folder / word}: the folder holds no .wav clip; unpack {ARCHIVE.file} completely")
        names += [f"{word}/{clip}" for clip in own]
        labels += [words.index(word)] * len(own)
    return names, np.array(labels, np.uint8)


def _parts(folder: Path, words: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The part of each name by the lists; what they do not name is for training."""
    place = {name: index for index, name in enumerate(names)}
    parts = np.full(len(names), TRAIN, np.uint8)
    for file, part in LISTS.items():
        path = folder / file
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read as a list of clips ({said(error)}); {_FIX}") from error
        for number, line in enumerate(map(str.strip, lines), 1):
            word = line.partition("/")[0]
            if line and not (word in WORDS_35 and _CLIP.fullmatch(line)):
                raise DataError(f"{path}: line {number} is {line!r}; expected <word>/<clip>.wav; {_FIX}")
            if word not in words:
                continue
            index = place.get(line)
            if index is None:
                raise DataError(
                    f"{path}: line {number} names {line}, and {folder / line} is not there; unpack {ARCHIVE.file} "
                    "completely, or take the line out"
                )
            if parts[index] != TRAIN:
                other = "which is in the other list too" if parts[index] != part else "as a line before it does"
                raise DataError(f"{path}: line {number} names {line}, {other}; {_FIX}")
            parts[index] = part
    for part, title in ((TRAIN, "training"), *((part, file) for file, part in LISTS.items())):
        if not (parts == part).any():
            raise DataError(f"{folder}: no clip of {', '.join(words)} is left for {title}; {_FIX}")
    return parts
