"""The IDX format: what is written reads back; damage is refused with the value found and the rule."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from datasets import DataError
from datasets.files import idx


def packed_idx(array: np.ndarray, magic: bytes | None = None) -> bytes:
    header = magic if magic is not None else bytes([0, 0, 8, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_round_trip(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    raw = packed_idx(array)
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix else raw)
    np.testing.assert_array_equal(idx.parse(raw, "bytes", shape), array)
    np.testing.assert_array_equal(idx.read(path, shape), array)


SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"", r"the magic number is 0x; expected 0x00000803"),
        (packed_idx(SMALL, magic=bytes([0, 0, 8, 1])), "the magic number is 0x00000801; expected 0x00000803"),
        (
            packed_idx(SMALL, magic=bytes([0, 0, 13, 3])),
            "the magic number is 0x00000d03; expected 0x00000803",
        ),
        (packed_idx(SMALL)[:9], "it ends after 9 bytes; expected a header of 16 bytes"),
        (packed_idx(SMALL[:1]), "its header says 1 x 3 x 4; expected 2 x 3 x 4"),
        (packed_idx(SMALL)[:-1], "it has 39 bytes; expected 40 bytes"),
        (packed_idx(SMALL) + b"\0", "it has 41 bytes; expected 40 bytes"),
    ],
)
def test_damaged_idx_is_refused_with_value_and_rule(raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"the file: {message}.*delete it"):
        idx.parse(raw, "the file", SMALL.shape)


def test_cut_off_or_foreign_gz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    whole = gzip.compress(np.random.default_rng(0).bytes(2000))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for raw in (b"", whole[:-1], whole[: len(whole) // 2], b"<html>moved</html>", bytes(flipped)):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=r"file\.gz: .*expected"):
            idx.read(path, SMALL.shape)


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.gz").mkdir()
    with pytest.raises(DataError, match=r"folder\.gz: cannot be read"):
        idx.read(tmp_path / "folder.gz", SMALL.shape)


def test_labels_out_of_range_are_refused() -> None:
    idx.check_labels(np.array([0, 9], np.uint8), "labels", 10)
    with pytest.raises(DataError, match="labels: label 1 is 10; expected labels from 0 to 9"):
        idx.check_labels(np.array([9, 10, 3], np.uint8), "labels", 10)
