"""Speech Commands by protocol: which clips are for what, and which numbers a network sees of them.

- default: the official lists; samples / 32768. A clip shorter than a second ends in zeros.
- s4torch (TariqAHassan/S4Torch): samples / 32768; a random tenth of all clips is held out, drawn with seed 1234, with
  the same speakers on both sides. It reports the best accuracy on that tenth and has no other: it is validation and
  test part here, and the description says so.
- official (state-spaces/s4) and s5 (lindermanlab/S5, a copy of the former's file): values standardised step by step of
  the second, over the training clips: x -> (x - mean) / (std + 1e-5), on samples / 2^30. The code divides by 2^15 what
  torchaudio has divided by 2^15; the 1e-5 is then most of the divisor. The split is speechcommands10's and
  speechcommands' own.

At half the rate every second sample is shown, of values standardised before, as in the official code and in S5.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.files import speech_commands, wav
from datasets.parts.clips import ClipProtocol, ClipSplit, Listed, RandomTenth, Samples, assembled
from datasets.parts.protocols import chosen
from datasets.store import cache
from datasets.store.cache import Prepared, Recipe
from datasets.store.stored import Stored
from settings.problem import Problem
from settings.rules import check_known, chosen_of

RATES = (speech_commands.RATE, speech_commands.RATE // 2)
_OFFICIAL = Samples(2.0**30, standardised=True)
_OFFICIAL_EPSILON = 1e-5
_BLOCK = 256  # clips whose sums are taken at once: 33 MB of 64-bit numbers


def protocols(official: ClipSplit) -> tuple[ClipProtocol, ...]:
    """Of a set of words, with its split in the protocols official and s5."""
    return (
        ClipProtocol("default", Listed(), Samples(wav.SCALE)),
        ClipProtocol("official", official, _OFFICIAL),
        ClipProtocol("s5", official, _OFFICIAL),
        ClipProtocol("s4torch", RandomTenth(), Samples(wav.SCALE)),
    )


@dataclass(frozen=True)
class SpeechSet:
    """Words of Speech Commands: a catalogue entry whose functions are this value's. A word's place is its class."""

    name: str
    words: Sequence[str]
    protocols: Sequence[ClipProtocol]

    def describe(self, settings: Mapping[str, Any]) -> Description:
        """Sizes, from settings alone; the counts are the files' own. ValueError on a senseless setting."""
        check_known("dataset", settings, {"protocol", "rate"})
        protocol = chosen(settings, self.protocols)
        rate = chosen_of("dataset", settings, "rate", RATES)
        selects = protocol.selects_on_test
        problem = Problem(rate, classes=len(self.words), channels=1)
        return Description(self.name, problem, None, protocol=protocol.name, selects_on_test=selects)

    def prepare(self, settings: Mapping[str, Any], data_dir: Path) -> Description:
        """Find or fetch the archive, check and prepare its clips; DataError if that fails."""
        return self.load(settings, data_dir, seed=0).description

    def load(self, settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
        """The three parts, inputs float32 (M, 16000 or 8000, 1); the same for every seed."""
        description = self.describe(settings)
        protocol = chosen(settings, self.protocols)
        clips = speech_commands.clips(self.words, data_dir)
        shown = (
            None if description.problem.length == speech_commands.LENGTH else np.arange(0, speech_commands.LENGTH, 2)
        )
        scale: dict[str, Any] = {"divisor": protocol.values.divisor}
        if protocol.values.standardised:
            own = _standardised(self.words, clips, protocol, data_dir)
            rows = (own["train"], own["validation"], own["test"])
            scale |= {"mean": own["mean"], "std": own["std"]}
        else:
            rows = protocol.split.rows(clips)
        labels = clips.arrays["labels"].astype(np.int32)
        samples = clips.arrays["samples"]
        return assembled(description, [Split(Stored(samples, own, order=shown, **scale), labels[own]) for own in rows])

    def class_names(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The words, in the order of the official code and of S4Torch."""
        return tuple(self.words)


def _standardised(
    words: Sequence[str], clips: Prepared, protocol: ClipProtocol, data_dir: Path
) -> Mapping[str, np.ndarray]:
    """Rows by the name of their part; mean and std (with its epsilon) float32 (16000, 1) of the training clips."""

    def make(into: Path) -> Mapping[str, Any]:
        rows = dict(zip(("train", "validation", "test"), protocol.split.rows(clips), strict=True))
        mean, std = _statistics(clips.arrays["samples"], rows["train"], protocol.values.divisor)
        for name, array in {**rows, "mean": mean, "std": std}.items():
            np.save(into / f"{name}.npy", array)
        return {"source": clips.notes["source"]}

    source = str(clips.notes["source"]).partition(":")[2][:12]
    code = [__file__, inspect.getfile(type(protocol.split)), speech_commands.__file__, wav.__file__]
    recipe = Recipe("speechcommands-official", {"words": list(words)}, code)
    return cache.prepared(recipe, data_dir, source, make).arrays


def _statistics(samples: np.ndarray, rows: np.ndarray, divisor: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std + epsilon of a step over the rows, of samples / divisor, float32 (L, 1).

    From sums of whole numbers, which are exact.
    """
    total, squares = (np.zeros(samples.shape[1:], np.int64) for _ in range(2))
    blocks = np.array_split(rows, -(-len(rows) // _BLOCK))
    for block in cache.progress(blocks, "statistics of speech commands"):
        values = samples[block].astype(np.int64)
        total += values.sum(axis=0)
        squares += (values * values).sum(axis=0)
    mean = total / len(rows)
    variance = (squares - total * mean) / (len(rows) - 1)
    std = np.sqrt(variance) / divisor + _OFFICIAL_EPSILON
    return (mean / divisor).astype(np.float32), std.astype(np.float32)
