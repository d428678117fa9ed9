"""S4Torch's counting task on ten words of Speech Commands: a clip in some of four places, silence in the others.

64,000 steps of one value; the class is how often the clip is heard, once to four times. Each place has it with a half
chance, and a clip that no place has is put into one of the first three, all as in S4Torch. There the places are drawn
anew whenever a clip is read, in training and in validation; here once for all, from a constant seed, so that both
frameworks and every run count in the same sound. Parts: by the official lists; protocol s4torch: its random tenth (see
parts/clips.py), of the places that are drawn here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.files import speech_commands, wav
from datasets.files.speech_commands import LENGTH, WORDS_10
from datasets.files.wav import SCALE
from datasets.parts.clips import ClipProtocol, Listed, RandomTenth, Samples, assembled
from datasets.parts.protocols import chosen
from datasets.store import cache
from datasets.store.cache import Prepared, Recipe
from datasets.store.stored import Stored
from settings.problem import Problem
from settings.rules import check_known

_NAME = "repeated_speechcommands10"
PROTOCOLS = (
    ClipProtocol("default", Listed(), Samples(SCALE)),
    ClipProtocol("s4torch", RandomTenth(), Samples(SCALE)),
)
_PLACES = 4
_SEED = 4


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    check_known("dataset", settings, {"protocol"})
    protocol = chosen(settings, PROTOCOLS)
    selects = protocol.selects_on_test
    problem = Problem(_PLACES * LENGTH, classes=_PLACES, channels=1)
    return Description(_NAME, problem, None, protocol=protocol.name, selects_on_test=selects)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch Speech Commands, check and prepare its clips, and repeat them; DataError if that fails."""
    return load(settings, data_dir, seed=0).description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 64000, 1) in [-1, 1); the same for every seed."""
    description = describe(settings)
    clips = speech_commands.clips(WORDS_10, data_dir)
    repeated = _repeated(clips, data_dir)
    labels = repeated["labels"].astype(np.int32)
    protocol, samples = chosen(settings, PROTOCOLS), repeated["samples"]
    rows, divisor = protocol.split.rows(clips), protocol.values.divisor
    return assembled(description, [Split(Stored(samples, own, divisor), labels[own]) for own in rows])


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """How often the clip is heard."""
    return ("once", "twice", "three times", "four times")


def places(count: int) -> np.ndarray:
    """Where each of `count` clips is heard, bool (count, 4), at least once."""
    random = np.random.RandomState(_SEED)  # its stream is frozen (NEP 19)
    heard = random.random_sample((count, _PLACES)) >= 0.5
    nowhere = np.flatnonzero(~heard.any(axis=1))
    heard[nowhere, random.randint(_PLACES - 1, size=len(nowhere))] = True
    return heard


def _repeated(clips: Prepared, data_dir: Path) -> Mapping[str, np.ndarray]:
    """samples int16 (N, 64000, 1), labels uint8 (N,); the silence takes no room on most file systems."""
    source = clips.arrays["samples"]

    def make(into: Path) -> Mapping[str, Any]:
        heard = places(len(source))
        samples = cache.new_array(into, "samples", np.int16, (len(source), _PLACES * LENGTH, 1))
        for index in cache.progress(range(len(source)), _NAME):
            for place in np.flatnonzero(heard[index]):
                samples[index, place * LENGTH : (place + 1) * LENGTH] = source[index]
        samples.flush()
        np.save(into / "labels.npy", (heard.sum(axis=1) - 1).astype(np.uint8))
        return {"source": clips.notes["source"]}

    own = str(clips.notes["source"]).partition(":")[2][:12]
    recipe = Recipe(_NAME, {}, [__file__, speech_commands.__file__, wav.__file__])
    return cache.prepared(recipe, data_dir, own, make).arrays
