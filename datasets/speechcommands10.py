"""Speech Commands v0.02, ten of its words: a second of raw sound, 16,000 steps of one value.

Parts by the official lists. The protocols official and s5 drop the clips that are shorter than a second (34,975 of the
published ones are left) and cut the rest 70/15/15, each word alike. See speech_protocols.py for the others, and for
the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datasets import speech_protocols
from datasets.cache import Prepared
from datasets.data import DataError, Dataset, Description
from datasets.reasons import said
from datasets.speech_files import LENGTH, WORDS_10
from datasets.speech_protocols import Rows

_NAME = "speechcommands10"


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    return speech_protocols.describe(_NAME, WORDS_10, settings)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch the archive, check and prepare its clips; DataError if that fails."""
    return load(settings, data_dir, seed=0).description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 16000 or 8000, 1); the same for every seed."""
    return speech_protocols.dataset(describe(settings), WORDS_10, stratified, data_dir)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The words, in the order of the official code and of S4Torch."""
    return WORDS_10


def stratified(clips: Prepared) -> Rows:
    """The official code's cut of the clips of full length, in the order of their words.

    Within a word they come by name here; there in the order in which the file system lists them, so that the very clips
    of its parts cannot be had again.
    """
    from sklearn.model_selection import train_test_split  # late: it takes a second, and only this cut needs it

    labels = clips.arrays["labels"]
    whole = np.flatnonzero(clips.arrays["lengths"] == LENGTH)
    rows = whole[np.argsort(labels[whole], kind="stable")]
    try:
        train, rest = train_test_split(rows, train_size=0.7, random_state=0, shuffle=True, stratify=labels[rows])
        validation, test = train_test_split(rest, train_size=0.5, random_state=1, shuffle=True, stratify=labels[rest])
    except ValueError as error:
        raise DataError(
            f"dataset {_NAME}: {len(rows)} clips of a full second cannot be cut 70/15/15 in each word ({said(error)}); "
            "unpack the published archive completely, or choose dataset.protocol=default"
        ) from error
    return np.sort(train), np.sort(validation), np.sort(test)
