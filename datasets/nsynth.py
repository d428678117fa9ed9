"""NSynth: notes of instruments, four seconds at 16,000 samples a second; the class is the family of the instrument.

Found in data_dir as the published archives unpack: nsynth-train, nsynth-valid, nsynth-test, each with examples.json and
audio/<note>.wav; archives nsynth-*.jsonwav.tar.gz that lie there are unpacked. None is fetched: no checksum of theirs
is published, and together they have 25 GB (the prepared array has 39 GB, half as many at two seconds).

Parts as published: no instrument of train is in another part, and no note of them is a synth lead. Protocol s4torch: a
random tenth of all notes together, the default of its training program (its README's runs held out a hundredth), which
is validation and test part here; by path, where S4Torch takes the files as the file system lists them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets import archives, cache, wav_files
from datasets.archives import Archive
from datasets.cache import Prepared, Recipe
from datasets.data import DataError, Dataset, Description, Split
from datasets.plain_json import strict_json
from datasets.reasons import said
from datasets.settings import choice, number_choice, refuse_unknown
from datasets.speech_protocols import assembled, listed, random_tenth
from datasets.stored import Stored
from datasets.wav_files import SCALE, Form

_NAME = "nsynth"
_RATE, _SECONDS = 16_000, 4
# By the number that the published examples.json gives them.
FAMILIES = (
    *("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal"),
)
_PARTS = ("nsynth-train", "nsynth-valid", "nsynth-test")
_EXAMPLES, _AUDIO = "examples.json", "audio"


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    refuse_unknown(_NAME, settings, {"protocol", "seconds"})
    protocol = choice(_NAME, settings, "protocol", ("default", "s4torch"))
    seconds = number_choice(_NAME, settings, "seconds", (_SECONDS, _SECONDS // 2))
    return Description(
        _NAME,
        seconds * _RATE,
        1,
        len(FAMILIES),
        None,
        None,
        protocol=protocol,
        selects_on_test=protocol == "s4torch",
    )


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or unpack the three folders, check and prepare their notes; DataError if that fails."""
    return load(settings, data_dir, seed=0).description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 64000 or 32000, 1) in [-1, 1); the same for every seed."""
    description = describe(settings)
    notes = _notes(description.length, data_dir)
    labels = notes.arrays["labels"].astype(np.int32)
    rows = random_tenth(len(labels)) if description.protocol == "s4torch" else listed(notes)
    samples = notes.arrays["samples"]
    return assembled(description, [Split(Stored(samples, own, divisor=SCALE), labels[own]) for own in rows])


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The families."""
    return FAMILIES


def _notes(length: int, data_dir: Path) -> Prepared:
    """arrays, by path in ascending order: samples int16 (N, length, 1), labels uint8 (N,), parts uint8 (N,)."""
    recipe = Recipe(_NAME, {"length": length}, [__file__, wav_files.__file__])
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
        form = Form(_RATE, _SECONDS * _RATE, shorter=False, fix="unpack the published archive again")
        _, checksum = wav_files.fill(samples, paths, form, _NAME)
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
