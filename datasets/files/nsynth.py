"""NSynth's notes as the published archives unpack: found in data_dir or unpacked, checked, and prepared as one array.

nsynth-train, nsynth-valid and nsynth-test, each with examples.json and audio/<note>.wav. None is fetched: no checksum
of theirs is published.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import DataError
from datasets.files import archives, wav
from datasets.files.archives import Archive
from datasets.files.wav import Form
from datasets.store import cache
from datasets.store.cache import Prepared, Recipe
from settings.plain_json import strict_json
from settings.reasons import said

_NAME = "nsynth"
RATE, SECONDS = 16_000, 4
# By the number that the published examples.json gives them.
FAMILIES = (
    *("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal"),
)
_PARTS = ("nsynth-train", "nsynth-valid", "nsynth-test")
_EXAMPLES, _AUDIO = "examples.json", "audio"


def notes(length: int, data_dir: Path) -> Prepared:
    """arrays, by path in ascending order: samples int16 (N, length, 1), labels uint8 (N,), parts uint8 (N,)."""
    recipe = Recipe(_NAME, {"length": length}, [__file__, wav.__file__])
    if not any(_traces(part, data_dir) for part in _PARTS) and cache.kept(recipe, data_dir):
        source = None
    else:
        folders = [_folder(part, data_dir) for part in _PARTS]
        source = cache.fingerprint(*(folder / name for folder in folders for name in (_EXAMPLES, _AUDIO)))

    def make(into: Path) -> Mapping[str, Any]:
        paths: list[Path] = []
        labels: list[int] = []
        parts: list[int] = []
        for part in sorted(_PARTS):
            own = _listing(_folder(part, data_dir))
            paths += own
            labels += own.values()
            parts += [_PARTS.index(part)] * len(own)
        samples = cache.new_array(into, "samples", np.int16, (len(paths), length, 1))
        form = Form(RATE, SECONDS * RATE, shorter=False, fix="unpack the published archive again")
        _, checksum = wav.fill(samples, paths, form, _NAME)
        samples.flush()
        np.save(into / "labels.npy", np.array(labels, np.uint8))
        np.save(into / "parts.npy", np.array(parts, np.uint8))
        return {"source": checksum}

    return cache.prepared(recipe, data_dir, source, make)


def _packed(part: str, data_dir: Path) -> Path:
    return data_dir / f"{part}.jsonwav.tar.gz"


def _traces(part: str, data_dir: Path) -> bool:
    return (data_dir / part).exists() or _packed(part, data_dir).exists()


def _folder(part: str, data_dir: Path) -> Path:
    """Where the part is unpacked; from its archive now if need be."""
    folder, packed = data_dir / part, _packed(part, data_dir)
    if not folder.exists():
        if not packed.exists():
            raise DataError(
                f"{folder} is not there, nor its archive; fetch {packed.name} by hand, from "
                f"http://download.magenta.tensorflow.org/datasets/nsynth/{packed.name}, and put it into {data_dir}, "
                "packed or unpacked, or point data_dir=... to it. No checksum of it is published that a fetched file "
                "could be held against"
            )
        archives.unpack(packed, Archive(packed.name, (), "", part, part, ()), data_dir)
    for name in (_EXAMPLES, _AUDIO):
        if not (folder / name).exists():
            raise DataError(f"{folder / name}: is not there; unpack {packed.name} completely")
    return folder


def _listing(folder: Path) -> dict[Path, int]:
    """The notes' files, ascending, and their families."""
    path = folder / _EXAMPLES
    fix = f"unpack {folder.name}.jsonwav.tar.gz again"
    try:
        entries = strict_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({said(error)}); {fix}") from error
    try:
        present = set(os.listdir(folder / _AUDIO))
    except OSError as error:
        raise DataError(f"{folder / _AUDIO}: cannot be read ({said(error)}); {fix}") from error
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{path}: names no notes; expected an object with one entry a note; {fix}")
    found = {}
    for note, entry in sorted(entries.items()):
        family = entry.get("instrument_family") if isinstance(entry, dict) else None
        if isinstance(family, bool) or not isinstance(family, int) or not 0 <= family < len(FAMILIES):
            raise DataError(
                f"{path}: the instrument_family of {note} is {family!r}; expected 0 to {len(FAMILIES) - 1}; {fix}"
            )
        clip = folder / _AUDIO / f"{note}.wav"
        if f"{note}.wav" not in present:
            raise DataError(f"{path}: names {note}, and {clip} is not there; {fix}")
        found[clip] = family
    return found
