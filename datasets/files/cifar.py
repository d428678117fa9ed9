"""CIFAR-10's binary archive: found in data_dir or fetched, checked, and prepared as sequences of colours or of greys.

Six files of 10,000 records: a label byte, then 1,024 bytes of red, of green and of blue, each row by row. An archive is
held to its published checksum, unpacked files to this structure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import DataError
from datasets.files import archives
from datasets.files.archives import Archive
from datasets.files.images import Images
from datasets.store import cache
from datasets.store.cache import Prepared, Recipe, fingerprint, new_array, progress
from settings.reasons import said

RECORDS = 10_000  # a file
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
FILES = (*_TRAIN, "test_batch.bin")
PUBLISHED = {"train": len(_TRAIN) * RECORDS, "test": RECORDS}
PIXELS = 32 * 32
CHANNELS = 3

ARCHIVE = Archive(
    file="cifar-10-binary.tar.gz",
    urls=("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"),
    checksum="md5:c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    inside="cifar-10-batches-bin",
    evidence=FILES,
)


def prepared(data_dir: Path, grey: bool) -> Prepared:
    """pixels uint8 (60000, 1024, 1 if grey else 3) and labels uint8 (60000,), train before test, made if need be."""
    recipe = Recipe("cifar10", {"grey": grey}, [__file__])
    folder = archives.find(ARCHIVE, data_dir)
    if folder is None and not cache.kept(recipe, data_dir):
        folder = archives.unpacked(ARCHIVE, data_dir)
    source = None if folder is None else fingerprint(*(folder / name for name in FILES))
    return cache.prepared(recipe, data_dir, source, partial(_make, data_dir, grey))


COLOURS = Images(PUBLISHED, PIXELS, CHANNELS, len(CLASSES), partial(prepared, grey=False))
GREYS = Images(PUBLISHED, PIXELS, 1, len(CLASSES), partial(prepared, grey=True))


def read_file(path: Path) -> np.ndarray:
    """The records uint8 (10000, 3073) of one file; DataError if it is not as published."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({said(error)}); check that it is a readable file") from error
    record = 1 + CHANNELS * PIXELS
    if len(raw) != RECORDS * record:
        raise _damaged(path, f"it has {len(raw)} bytes", f"{RECORDS * record}: {RECORDS} records of {record} bytes")
    records = np.frombuffer(raw, np.uint8).reshape(RECORDS, record)
    labels = records[:, 0]
    if labels.max() >= len(CLASSES):
        at = int(labels.argmax())
        raise _damaged(path, f"the label of record {at} is {labels[at]}", f"labels from 0 to {len(CLASSES) - 1}")
    return records


def luma(planes: np.ndarray) -> np.ndarray:
    """Greys uint8 (M, 1, L) of planes uint8 (M, 3, L) red, green, blue.

    ITU-R 601-2 in 16-bit fixed point, rounded half up, as Pillow's convert("L") and so torchvision's Grayscale have it.
    """
    red, green, blue = (planes[:, channel : channel + 1].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)


def _make(data_dir: Path, grey: bool, folder: Path) -> Mapping[str, Any]:
    source = archives.unpacked(ARCHIVE, data_dir)
    count = len(FILES) * RECORDS
    pixels = new_array(folder, "pixels", np.uint8, (count, PIXELS, 1 if grey else CHANNELS))
    labels = new_array(folder, "labels", np.uint8, (count,))
    digest = hashlib.sha256()
    for index, name in enumerate(progress(FILES, "cifar10")):
        records = read_file(source / name)
        digest.update(records.data)
        rows = slice(index * RECORDS, (index + 1) * RECORDS)
        labels[rows] = records[:, 0]
        planes = records[:, 1:].reshape(RECORDS, CHANNELS, PIXELS)
        pixels[rows] = (luma(planes) if grey else planes).transpose(0, 2, 1)
    return {"source": f"sha256:{digest.hexdigest()}"}


def _damaged(path: Path, found: str, rule: str) -> DataError:
    return DataError(
        f"{path}: {found}; expected {rule}. The file is damaged or not the published one: unpack {ARCHIVE.file} there "
        f"again, or remove {path.parent}, and it is fetched anew"
    )
