"""Sound clips in .wav files: 16-bit PCM of one channel, held against the form that their data set publishes.

Read with Python's own wave module, whose answers are checked: it takes a file that was cut off for a shorter clip. Not
noticed: samples that changed in place, as a .wav file has no checksum.
"""

from __future__ import annotations

import hashlib
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.data import DataError
from datasets.store.cache import progress
from settings.reasons import said

SCALE = 32768.0  # full scale of 16 bits: a sample divided by it lies in [-1, 1)
_BYTES = 2  # of one sample


@dataclass(frozen=True)
class Form:
    """rate: samples a second. length: samples of a clip. shorter: whether clips may have fewer. fix: what to do about a
    bad file.
    """

    rate: int
    length: int
    shorter: bool
    fix: str


def parse(raw: bytes, path: Path, form: Form) -> np.ndarray:
    """Samples int16 (length,) of a .wav file's bytes; DataError, under the name `path`, unless they have the form."""
    if not raw:
        raise DataError(f"{path}: the file is empty; {form.fix}")
    try:
        with wave.open(io.BytesIO(raw)) as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            declared, content = file.getnframes(), file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError) as error:  # the last where a part is said to be longer than the file
        raise DataError(f"{path}: is no whole .wav file of PCM ({said(error)}); {form.fix}") from error
    if width != _BYTES:
        raise DataError(f"{path}: its samples have {8 * width} bits; expected 16; {form.fix}")
    if channels != 1:
        raise DataError(f"{path}: it has {channels} channels; expected one; {form.fix}")
    if rate != form.rate:
        raise DataError(f"{path}: its rate is {rate} samples a second; expected {form.rate}; {form.fix}")
    if len(content) != _BYTES * declared:
        raise DataError(
            f"{path}: it is cut off: its header says {declared} samples, and {len(content) // _BYTES} are there; "
            f"{form.fix}"
        )
    if not 0 < declared <= form.length or (declared < form.length and not form.shorter):
        bound = f"from 1 to {form.length}" if form.shorter else form.length
        raise DataError(f"{path}: it has {declared} samples; expected {bound}; {form.fix}")
    return np.frombuffer(content, "<i2")


def fill(samples: np.ndarray, paths: Sequence[Path], form: Form, name: str) -> tuple[np.ndarray, str]:
    """Reads clip after clip into samples int16 (N, L, 1), which hold zeros: what follows a shorter clip stays zero, and
    of a longer one the first L samples are taken.

    Returns each clip's own number of samples, int32 (N,), and the checksum of all bytes read, "sha256:...".
    """
    digest = hashlib.sha256()
    lengths = np.empty(len(paths), np.int32)
    for index, path in enumerate(progress(paths, name, len(paths))):
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({said(error)}); {form.fix}") from error
        clip = parse(raw, path, form)
        digest.update(raw)
        lengths[index] = len(clip)
        samples[index, : len(clip), 0] = clip[: samples.shape[1]]
    return lengths, f"sha256:{digest.hexdigest()}"
