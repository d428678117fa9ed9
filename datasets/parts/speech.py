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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import Dataset, Description, Split
from datasets.files import speech_commands, wav
from datasets.parts.splits import torch_permutation
from datasets.settings import choice, number_choice, refuse_unknown
from datasets.store import cache
from datasets.store.cache import Prepared, Recipe
from datasets.store.stored import Stored

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # of train, validation and test

PROTOCOLS = ("default", "official", "s5", "s4torch")
RATES = (speech_commands.RATE, speech_commands.RATE // 2)
_OFFICIAL_SCALE = 2.0**30
_OFFICIAL_EPSILON = 1e-5
_S4TORCH_SEED, _S4TORCH_FRACTION = 1234, 0.1
_BLOCK = 256  # clips whose sums are taken at once: 33 MB of 64-bit numbers


def describe(name: str, words: Sequence[str], settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; the counts are the files' own."""
    refuse_unknown(name, settings, {"protocol", "rate"})
    protocol = choice(name, settings, "protocol", PROTOCOLS)
    rate = number_choice(name, settings, "rate", RATES)
    return Description(name, rate, 1, len(words), None, None, protocol=protocol, selects_on_test=protocol == "s4torch")


def dataset(
    description: Description, words: Sequence[str], official: Callable[[Prepared], Rows], data_dir: Path
) -> Dataset:
    """The three parts, inputs float32 (M, rate, 1); `official` is the split of the protocols official and s5."""
    clips = speech_commands.clips(words, data_dir)
    shown = None if description.length == speech_commands.LENGTH else np.arange(0, speech_commands.LENGTH, 2)
    rows: Rows
    if description.protocol in ("official", "s5"):
        own = _standardised(words, clips, official, data_dir)
        rows = (own["train"], own["validation"], own["test"])
        scale: dict[str, Any] = {"divisor": _OFFICIAL_SCALE, "mean": own["mean"], "std": own["std"]}
    else:
        rows = random_tenth(len(clips.arrays["labels"])) if description.protocol == "s4torch" else listed(clips)
        scale = {"divisor": wav.SCALE}
    labels = clips.arrays["labels"].astype(np.int32)
    samples = clips.arrays["samples"]
    return assembled(description, [Split(Stored(samples, own, order=shown, **scale), labels[own]) for own in rows])


def assembled(description: Description, splits: Sequence[Split]) -> Dataset:
    """The data set of train, validation and test, with their counts."""
    train, validation, test = splits
    counts = {"train": len(train.targets), "validation": len(validation.targets), "test": len(test.targets)}
    return Dataset(replace(description, counts=counts), train, validation, test)


def listed(clips: Prepared) -> Rows:
    """By the official lists."""
    parts = clips.arrays["parts"]
    train, validation, test = (np.flatnonzero(parts == part) for part in range(3))
    return train, validation, test


def random_tenth(count: int) -> Rows:
    """S4Torch's: the rest and a tenth that is validation and test. Of files by path, as torchaudio lists them."""
    order = torch_permutation(count, _S4TORCH_SEED)
    kept = count - int(count * _S4TORCH_FRACTION)
    held = np.sort(order[kept:])
    return np.sort(order[:kept]), held, held


def _standardised(
    words: Sequence[str], clips: Prepared, official: Callable[[Prepared], Rows], data_dir: Path
) -> Mapping[str, np.ndarray]:
    """Rows by the name of their part; mean and std (with its epsilon) float32 (16000, 1) of the training clips."""

    def make(into: Path) -> Mapping[str, Any]:
        rows = dict(zip(("train", "validation", "test"), official(clips), strict=True))
        mean, std = _statistics(clips.arrays["samples"], rows["train"])
        for name, array in {**rows, "mean": mean, "std": std}.items():
            np.save(into / f"{name}.npy", array)
        return {"source": clips.notes["source"]}

    source = str(clips.notes["source"]).partition(":")[2][:12]
    code = [__file__, inspect.getfile(official), speech_commands.__file__, wav.__file__]
    recipe = Recipe("speechcommands-official", {"words": list(words)}, code)
    return cache.prepared(recipe, data_dir, source, make).arrays


def _statistics(samples: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std + epsilon of a step over the rows, in the official scale, float32 (L, 1).

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
    std = np.sqrt(variance) / _OFFICIAL_SCALE + _OFFICIAL_EPSILON
    return (mean / _OFFICIAL_SCALE).astype(np.float32), std.astype(np.float32)
