"""NSynth: notes of instruments, four seconds at 16,000 samples a second; the class is the family of the instrument.

Found in data_dir as the published archives unpack: nsynth-train, nsynth-valid, nsynth-test, each with examples.json and
audio/<note>.wav; archives nsynth-*.jsonwav.tar.gz that lie there are unpacked. None is fetched: no checksum of theirs
is published, and together they have 25 GB (the prepared array has 39 GB, half as many at two seconds).

Parts as published: no instrument of train is in another part, and no note of them is a synth lead. Protocol s4torch: a
random tenth of all notes together, the default of its training program (its README's runs held out a hundredth), which
is validation and test part here; by path, where S4Torch takes the files as the file system lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.files import nsynth as nsynth_files
from datasets.files.wav import SCALE
from datasets.parts.clips import ClipProtocol, Listed, RandomTenth, Samples, assembled
from datasets.parts.protocols import chosen
from datasets.store.stored import Stored
from settings.problem import Problem
from settings.rules import check_known, chosen_of

_NAME = "nsynth"
PROTOCOLS = (
    ClipProtocol("default", Listed(), Samples(SCALE)),
    ClipProtocol("s4torch", RandomTenth(), Samples(SCALE)),
)


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    check_known("dataset", settings, {"protocol", "seconds"})
    protocol = chosen(settings, PROTOCOLS)
    seconds = chosen_of("dataset", settings, "seconds", (nsynth_files.SECONDS, nsynth_files.SECONDS // 2))
    return Description(
        _NAME,
        Problem(seconds * nsynth_files.RATE, len(nsynth_files.FAMILIES), channels=1),
        counts=None,
        protocol=protocol.name,
        selects_on_test=protocol.selects_on_test,
    )


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or unpack the three folders, check and prepare their notes; DataError if that fails."""
    return load(settings, data_dir, seed=0).description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 64000 or 32000, 1) in [-1, 1); the same for every seed."""
    description = describe(settings)
    notes = nsynth_files.notes(description.problem.length, data_dir)
    labels = notes.arrays["labels"].astype(np.int32)
    protocol, samples = chosen(settings, PROTOCOLS), notes.arrays["samples"]
    rows, divisor = protocol.split.rows(notes), protocol.values.divisor
    return assembled(description, [Split(Stored(samples, own, divisor), labels[own]) for own in rows])


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The families."""
    return nsynth_files.FAMILIES
