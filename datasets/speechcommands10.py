"""Speech Commands v0.02, ten of its words: a second of raw sound, 16,000 steps of one value.

Parts by the official lists. The protocols official and s5 drop the clips that are shorter than a second (34,975 of the
published ones are left) and cut the rest 70/15/15, each word alike. See parts/speech.py for the others, and for
the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from datasets.data import DataError
from datasets.files.speech_commands import LENGTH, WORDS_10
from datasets.parts import speech
from datasets.parts.speech import SpeechSet
from datasets.parts.splits import Rows
from datasets.store.cache import Prepared
from settings.reasons import said

_NAME = "speechcommands10"


@dataclass(frozen=True)
class Stratified:
    """The official code's cut of the clips of full length, in the order of their words.

    Within a word they come by name here; there in the order in which the file system lists them, so that the very clips
    of its parts cannot be had again.
    """

    selects_on_test: ClassVar[bool] = False

    def rows(self, clips: Prepared) -> Rows:
        from sklearn.model_selection import train_test_split  # late: it takes a second, and only this cut needs it

        labels = clips.arrays["labels"]
        whole = np.flatnonzero(clips.arrays["lengths"] == LENGTH)
        rows = whole[np.argsort(labels[whole], kind="stable")]
        try:
            train, rest = train_test_split(rows, train_size=0.7, random_state=0, shuffle=True, stratify=labels[rows])
            validation, test = train_test_split(
                rest, train_size=0.5, random_state=1, shuffle=True, stratify=labels[rest]
            )
        except ValueError as error:
            raise DataError(
                f"dataset {_NAME}: {len(rows)} clips of a full second cannot be cut 70/15/15 in each word "
                f"({said(error)}); unpack the published archive completely, or choose dataset.protocol=default"
            ) from error
        return np.sort(train), np.sort(validation), np.sort(test)


PROTOCOLS = speech.protocols(official=Stratified())
SET = SpeechSet(_NAME, WORDS_10, PROTOCOLS)
describe, prepare, load, class_names = SET.describe, SET.prepare, SET.load, SET.class_names
