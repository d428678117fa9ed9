"""The four published MNIST files: where they may lie, how they are fetched, that they are the real ones, and their
images prepared as sequences.

Searched in data_dir, data_dir/mnist and data_dir/MNIST/raw (torchvision's place), packed or unpacked; what is
found nowhere is fetched into data_dir/mnist, under a temporary name until its checksum holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.data import DataError
from datasets.files import archives, idx
from datasets.files.images import Images
from datasets.store import cache
from datasets.store.cache import Prepared, Recipe, fingerprint, progress

CLASSES = 10
PIXELS = 28 * 28
TRAIN_COUNT = 60_000
TEST_COUNT = 10_000

# Tried in this order; the checksum decides, not the address.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://yann.lecun.com/exdb/mnist/",
)
_FOLDERS = ("", "mnist", "MNIST/raw")


@dataclass(frozen=True)
class PublishedFile:
    """One unpacked name, the MD5 of its .gz as published, and the shape of its array."""

    name: str
    md5: str
    shape: tuple[int, ...]


TRAIN_IMAGES = PublishedFile("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873", (TRAIN_COUNT, 28, 28))
TRAIN_LABELS = PublishedFile("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432", (TRAIN_COUNT,))
TEST_IMAGES = PublishedFile("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3", (TEST_COUNT, 28, 28))
TEST_LABELS = PublishedFile("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c", (TEST_COUNT,))
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
_RECIPE = Recipe("mnist", {}, [__file__, idx.__file__])


def prepared(data_dir: Path) -> Prepared:
    """pixels uint8 (70000, 784, 1) and labels uint8 (70000,), train before test, made if need be.

    DataError if a file is neither found nor fetched, or is not right.
    """
    paths = [locate(file, data_dir) for file in FILES]
    if None in paths and not cache.kept(_RECIPE, data_dir):
        paths = [path or fetch(file, data_dir) for file, path in zip(FILES, paths, strict=True)]
    found = [path for path in paths if path is not None]
    source = fingerprint(*found) if len(found) == len(FILES) else None
    return cache.prepared(_RECIPE, data_dir, source, partial(_make, data_dir))


IMAGES = Images({"train": TRAIN_COUNT, "test": TEST_COUNT}, PIXELS, channels=1, classes=CLASSES, prepared=prepared)


def locate(file: PublishedFile, data_dir: Path) -> Path | None:
    """The first place that holds the file, packed before unpacked; None if none does."""
    for folder in _FOLDERS:
        for name in (f"{file.name}.gz", file.name):
            path = data_dir / folder / name
            if path.exists():
                return path
    return None


def read_file(file: PublishedFile, path: Path) -> np.ndarray:
    """The file's array: structure and label range checked always, the published MD5 for a .gz.

    Structure first, because its errors say more (cut off at which byte) than a checksum can.
    """
    array = idx.read(path, file.shape)
    if len(file.shape) == 1:
        idx.check_labels(array, str(path), CLASSES)
    if path.suffix == ".gz":
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if found != file.md5:
            raise DataError(
                f"{path}: its MD5 is {found}; the published file has {file.md5}. Delete it, and it is "
                "fetched anew (or put a good copy there)"
            )
    return array


def fetch(file: PublishedFile, data_dir: Path) -> Path:
    """The .gz from the first mirror that gives the published bytes, each tried once."""
    folder, names = data_dir / "mnist", ", ".join(f"{each.name}.gz" for each in FILES)
    where = f"into {folder} by hand (packed, or unpacked without .gz), or point data_dir=... to them"
    by_hand = f"Put these files {where}: {names}"
    return archives.download(f"{file.name}.gz", MIRRORS, f"md5:{file.md5}", folder, data_dir, by_hand)


def _make(data_dir: Path, folder: Path) -> Mapping[str, Any]:
    paths = [locate(file, data_dir) or fetch(file, data_dir) for file in FILES]
    read = (read_file(file, path) for file, path in zip(progress(FILES, "mnist"), paths, strict=True))
    train_images, train_labels, test_images, test_labels = read
    pixels = np.concatenate([train_images, test_images]).reshape(-1, PIXELS, 1)
    labels = np.concatenate([train_labels, test_labels])
    np.save(folder / "pixels.npy", pixels)
    np.save(folder / "labels.npy", labels)
    digest = hashlib.sha256(pixels.data)
    digest.update(labels.data)
    return {"source": f"sha256:{digest.hexdigest()}"}
