"""The IDX file format of the MNIST files: bytes in, checked uint8 arrays out. It fetches nothing.

Layout (big-endian): two zero bytes, the element type (0x08: unsigned byte), the number of dimensions, one
32-bit size a dimension, then the elements in row-major order.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from datasets.data import DataError
from settings.reasons import said

_UNSIGNED_BYTE = 0x08


def read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of `shape` in a plain or gzip-packed (.gz) IDX file; DataError if anything is wrong."""
    return parse(_unpack(path), str(path), shape)


def parse(raw: bytes, source: str, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of `shape` in unpacked IDX bytes; `source` names them in errors."""
    expected_magic = bytes([0, 0, _UNSIGNED_BYTE, len(shape)])
    header_bytes = 4 + 4 * len(shape)
    if raw[:4] != expected_magic:
        raise _damaged(
            source,
            f"the magic number is 0x{raw[:4].hex()}",
            f"0x{expected_magic.hex()} ({len(shape)} dimensions)",
        )
    if len(raw) < header_bytes:
        raise _damaged(source, f"it ends after {len(raw)} bytes", f"a header of {header_bytes} bytes")
    found = struct.unpack(f">{len(shape)}I", raw[4:header_bytes])
    if found != shape:
        raise _damaged(source, f"its header says {_sizes(found)}", _sizes(shape))
    expected_bytes = header_bytes + math.prod(shape)
    if len(raw) != expected_bytes:
        raise _damaged(source, f"it has {len(raw)} bytes", f"{expected_bytes} bytes for {_sizes(shape)}")
    return np.frombuffer(raw, dtype=np.uint8, offset=header_bytes).reshape(shape)


def check_labels(labels: np.ndarray, source: str, classes: int) -> None:
    """Refuse labels outside 0 .. classes - 1."""
    largest = int(labels.max())
    if largest >= classes:
        at = int(labels.argmax())
        raise _damaged(source, f"label {at} is {largest}", f"labels from 0 to {classes - 1}")


def _unpack(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({said(error)}); check that it is a readable file") from error
    if path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(
            str(path), f"{len(raw)} bytes that do not unpack ({said(error)})", "a whole gzip file"
        ) from error


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _damaged(source: str, found: str, rule: str) -> DataError:
    return DataError(
        f"{source}: {found}; expected {rule}. The file is damaged or not the published one: delete it, and "
        "it is fetched anew (or put a good copy there)"
    )
