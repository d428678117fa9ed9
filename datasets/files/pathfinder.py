"""Pathfinder as the Long Range Arena publishes it: folders of small grey PNG files, with lists that hold the classes.

pathfinder<size>/<difficulty>/metadata/<number>.npy is text in spite of its name, a line an image: its folder, its file,
its number, its class (1: both discs on one path), and how it was drawn. The images are taken in the lists' order.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import DataError
from datasets.files import sources
from datasets.store.cache import Fingerprint, fingerprint, new_array, progress
from settings import hidden
from settings.reasons import said

DIFFICULTIES = {"easy": "curv_baseline", "intermediate": "curv_contour_length_9", "hard": "curv_contour_length_14"}
KNOWN_BAD = {(32, "easy", "imgs/0/sample_172.png")}  # an empty file of the archive, left out by the official loader too
_LEAST = 10  # images that can be split 80/10/10
_HINT = "unpack the Long Range Arena's lra_release.gz there completely"
_OTHERWISE = "or choose dataset.source=generated"


@dataclass(frozen=True)
class Entry:
    """An image, its class, and the line that says so."""

    path: Path
    label: int
    where: str


def find(data_dir: Path, size: int, difficulty: str) -> Path | None:
    """The folder of one difficulty: None where data_dir has no images of this size."""
    name = f"pathfinder{size}"
    # the archive has two folders pathfinder128; the inner one is what the official loader's instructions take
    folders = (f"lra_release/lra_release/{name}", f"pathfinder/{name}", name)
    found = sources.first_folder(data_dir, folders, (DIFFICULTIES[difficulty],), _HINT)
    return None if found is None else found / DIFFICULTIES[difficulty]


def state(folder: Path) -> Fingerprint:
    """Changes when files come or go and when a list changes."""
    try:
        return fingerprint(folder, *_found_lists(folder))
    except OSError as error:
        raise DataError(f"{folder}: its lists cannot be read ({said(error)}); {_HINT} again, {_OTHERWISE}") from error


def read(folder: Path | None, data_dir: Path, size: int, difficulty: str, into: Path) -> Mapping[str, Any]:
    """Checks all images; writes pixels uint8 (N, size * size, 1) and labels uint8 (N,). DataError if one is damaged."""
    if folder is None:
        raise DataError(
            f"pathfinder{size} is not in data_dir={str(data_dir)!r}, nor in lra_release/lra_release or pathfinder "
            f"below it; {_HINT}, {_OTHERWISE}"
        )
    digest = hashlib.sha256()
    entries = [
        entry
        for path in _lists(folder)
        for entry in _entries(path, folder, digest)
        if (size, difficulty, entry.path.relative_to(folder).as_posix()) not in KNOWN_BAD
    ]
    _once(entries)
    if len(entries) < _LEAST:
        raise DataError(
            f"{folder}: its lists name {len(entries)} images; expected {_LEAST} or more; {_HINT}, {_OTHERWISE}"
        )
    pixels = new_array(into, "pixels", np.uint8, (len(entries), size * size, 1))
    labels = new_array(into, "labels", np.uint8, (len(entries),))
    for index, entry in enumerate(progress(entries, folder.parent.name)):
        raw = _bytes(entry)
        digest.update(raw)
        pixels[index, :, 0] = _image(raw, entry, size).reshape(-1)
        labels[index] = entry.label
    return {"source": f"sha256:{digest.hexdigest()}", "generated": False}


def _found_lists(folder: Path) -> list[Path]:
    metadata = folder / "metadata"
    try:
        return [metadata / name for name in hidden.own(os.listdir(metadata)) if name.endswith(".npy")]
    except OSError as error:
        raise DataError(f"{metadata}: cannot be read ({said(error)}); {_HINT} again, {_OTHERWISE}") from error


def _lists(folder: Path) -> list[Path]:
    lists = _found_lists(folder)
    if not lists:
        raise DataError(f"{folder / 'metadata'}: holds no list (<number>.npy); {_HINT}, {_OTHERWISE}")
    for path in lists:
        if not path.stem.isdigit():
            raise DataError(f"{path}: a list's name is <number>.npy; remove what does not belong to the archive")
    return sorted(lists, key=lambda path: int(path.stem))


def _entries(path: Path, folder: Path, digest: Any) -> Iterator[Entry]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({said(error)}); {_HINT} again, {_OTHERWISE}") from error
    digest.update(raw)
    lines = raw.decode("utf-8", "replace").splitlines()
    if not lines:
        raise DataError(f"{path}: is empty; {_HINT} again, {_OTHERWISE}")
    for number, line in enumerate(lines, start=1):
        fields, where = line.split(), f"{path}: line {number}"
        if len(fields) < 4 or fields[3] not in ("0", "1"):
            raise DataError(
                f"{where} reads {line[:60]!r}; expected folder, file, number and class (0 or 1), as in 'imgs/0 "
                f"sample_0.png 0 1'; {_HINT} again, {_OTHERWISE}"
            )
        name = Path(fields[0]) / fields[1]
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"{where} names {str(name)!r}, which leads out of the folder; {_HINT} again, {_OTHERWISE}")
        yield Entry(folder / name, int(fields[3]), where)


def _once(entries: Sequence[Entry]) -> None:
    """DataError where two lines name one image, which could then be in two parts."""
    first: dict[Path, Entry] = {}
    for entry in entries:
        if (other := first.setdefault(entry.path, entry)) is not entry:
            raise DataError(
                f"{entry.where} names {entry.path}, as does {other.where}; expected each image once; {_HINT} again, "
                f"{_OTHERWISE}"
            )


def _bytes(entry: Entry) -> bytes:
    try:
        return entry.path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{entry.path}: is not there, but {entry.where} names it; {_HINT} again, {_OTHERWISE}"
        ) from error
    except OSError as error:
        raise DataError(f"{entry.path}: cannot be read ({said(error)}); {_HINT} again, {_OTHERWISE}") from error


def _image(raw: bytes, entry: Entry, size: int) -> np.ndarray:
    """uint8 (size, size)."""
    from PIL import Image  # here, as generated images need none

    expected = ("L", size, size)
    try:
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as image:
            found = (image.mode, *image.size)
            if found == expected:  # else its pixels, which may be any number, are not read
                image.verify()  # the checksums, which reading the pixels passes over
        if found == expected:
            with Image.open(io.BytesIO(raw), formats=["PNG"]) as image:
                return np.asarray(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{entry.path}: is far larger than {size} x {size} pixels ({said(error)}); {_HINT} again, {_OTHERWISE}"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{entry.path}: is no whole PNG file ({said(error)}); {_HINT} again, {_OTHERWISE}") from error
    raise DataError(
        f"{entry.path}: is {found[1]} x {found[2]} pixels of mode {found[0]}; expected {size} x {size} of mode L, "
        f"8 bit grey; {_HINT} again, {_OTHERWISE}"
    )
