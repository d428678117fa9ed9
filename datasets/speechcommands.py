"""Speech Commands v0.02, all 35 words: a second of raw sound, 16,000 steps of one value.

Parts by the official lists, in the protocols official and s5 too. See parts/speech.py for values and protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.data import Dataset, Description
from datasets.files.speech_commands import WORDS_35
from datasets.parts import speech

_NAME = "speechcommands"


def describe(settings: Mapping[str, Any]) -> Description:
    """Sizes, from settings alone; ValueError on an unknown key or a senseless value."""
    return speech.describe(_NAME, WORDS_35, settings)


def prepare(settings: Mapping[str, Any], data_dir: Path) -> Description:
    """Find or fetch the archive, check and prepare its clips; DataError if that fails."""
    return load(settings, data_dir, seed=0).description


def load(settings: Mapping[str, Any], data_dir: Path, seed: int) -> Dataset:
    """The three parts, inputs float32 (M, 16000 or 8000, 1); the same for every seed."""
    return speech.dataset(describe(settings), WORDS_35, speech.listed, data_dir)


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The words, in the order of the official code and of S4Torch."""
    return WORDS_35
