"""Prepared data: arrays made once from a source, kept as .npy files that are memory-mapped, whole or absent.

data_dir/prepared/<data set>-<settings>-<source>/ holds the arrays and prepared.json, which says what they were made
from, with their checksums. A folder is filled under another name and renamed; one process at a time fills it, and the
others wait. A file whose size or time is not the written one is read against its checksum; a folder that fails is made
anew. Not noticed: bits that change on the disk without anyone writing, and a source file that is rewritten in place in
a folder of very many (fingerprint() says why).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from datasets.data import DataError
from datasets.store.earlier import EARLIER
from datasets.store.fingerprints import Fingerprint
from datasets.store.fingerprints import fingerprint as fingerprint  # part of what this module offers
from settings.progress import VOICE, items
from settings.reasons import said

FOLDER = "prepared"
DOCUMENT = "prepared.json"
_BLOCK = 1 << 24
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Recipe:
    """What prepared arrays depend on: the data set's name, its settings, and the files of the code that makes them."""

    name: str
    settings: Mapping[str, Any]
    code: Sequence[str]

    @property
    def key(self) -> str:
        """A folder's name without the source; the one of an earlier version that makes the same arrays."""
        digest = hashlib.sha256(json.dumps(dict(self.settings), sort_keys=True).encode())
        for path in sorted(self.code):
            digest.update(Path(path).read_bytes())
        own = f"{self.name}-{digest.hexdigest()[:12]}"
        return EARLIER.get(own, own)


@dataclass(frozen=True)
class Prepared:
    """Arrays by name, memory-mapped and read-only, and the plain values that were noted with them."""

    arrays: Mapping[str, np.ndarray]
    notes: Mapping[str, Any]


def prepared(
    recipe: Recipe, data_dir: Path, source: Fingerprint | str | None, make: Callable[[Path], Mapping[str, Any]]
) -> Prepared:
    """The arrays of the recipe, made where there are none that can be trusted.

    source: fingerprint() of what they are made from, or a name for what is no file; None where that is gone, and arrays
    made before will do. make: is given an empty folder, leaves .npy files in it and returns plain values to note, such
    as the source's checksum. Raises DataError, as `make` does, and leaves nothing half-made.
    """
    found = _find(recipe, data_dir, source)
    if found is not None:
        return found
    folder = data_dir / FOLDER / f"{recipe.key}-{_thorough(source)}"
    glance = source.glance if isinstance(source, Fingerprint) else None
    found = _read(folder)
    if found is not None:  # the folders' times have changed, and what counts in them has not
        with contextlib.suppress(OSError):  # what cannot be noted is looked at thoroughly again
            _note(folder, glance)
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder), VOICE.during(f"preparing {recipe.name}"):
            found = _read(folder)  # another process may have made it meanwhile
            if found is None:
                _fill(folder, make, glance)
                found = _read(folder)
    except OSError as error:
        raise DataError(
            f"data_dir={str(data_dir)!r}: {folder} cannot be written ({said(error)}); free some space there, or choose "
            "a folder of your own with data_dir=... (it may link to the data files)"
        ) from error
    if found is None:
        raise DataError(f"{folder}: what was written there reads back damaged; check the disk")
    return found


def kept(recipe: Recipe, data_dir: Path) -> bool:
    """Whether whole arrays of the recipe were made before, from whatever source."""
    return _find(recipe, data_dir, None) is not None


def new_array(folder: Path, name: str, dtype: Any, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """folder/<name>.npy to be filled in place; larger than memory if need be."""
    return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.dtype(dtype), shape=shape)


def progress(source: Iterable[ItemT], name: str, total: int | None = None) -> Iterator[ItemT]:
    """The items, counted on the screen with rate and remaining time."""
    yield from items(source, f"preparing {name}", total)


def _find(recipe: Recipe, data_dir: Path, source: Fingerprint | str | None) -> Prepared | None:
    """What was made from this source, as a glance tells, or, without one, what was made last."""
    if isinstance(source, str):
        return _read(data_dir / FOLDER / f"{recipe.key}-{source}")
    known = sorted((data_dir / FOLDER).glob(f"{recipe.key}-*"), key=lambda path: path.stat().st_mtime_ns)
    if source is not None:
        # an earlier version noted no glance, and named the folder by it
        earlier = f"{recipe.key}-{source.glance}"
        known = [folder for folder in known if source.glance == _glance(folder) or folder.name == earlier]
    return next((found for folder in reversed(known) if (found := _read(folder)) is not None), None)


def _thorough(source: Fingerprint | str | None) -> str | None:
    if not isinstance(source, Fingerprint):
        return source
    try:
        return source.thorough()
    except OSError as error:
        raise DataError(
            f"{error.filename}: cannot be read ({said(error)}); check its rights, or put a good copy there"
        ) from error


def _document(folder: Path) -> Any:
    return json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))


def _glance(folder: Path) -> str | None:
    """What a glance at the source showed when the folder was made, or known again; None where it does not say."""
    try:
        glance = _document(folder)["glance"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return glance if isinstance(glance, str) else None


def _note(folder: Path, glance: str | None) -> None:
    """Notes another glance at the same source; whole or not at all, as other processes read it."""
    temporary = folder / f".{DOCUMENT}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_text(json.dumps(_document(folder) | {"glance": glance}, indent=1), encoding="utf-8")
        os.replace(temporary, folder / DOCUMENT)
    finally:
        temporary.unlink(missing_ok=True)


def _read(folder: Path) -> Prepared | None:
    """The folder's arrays; None where it is absent or damaged."""
    try:
        document = _document(folder)
        if document["crc32"] != _content_checksum(document):
            return None
        for name, file in document["files"].items():
            path = folder / name
            state = path.stat()
            written = state.st_size == file["bytes"] and state.st_mtime_ns == file["mtime_ns"]
            if not written and (state.st_size, _checksum(path)) != (file["bytes"], file["crc32"]):
                return None
        arrays = {
            Path(name).stem: np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in document["files"]
        }
        return Prepared(arrays, document["notes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _fill(folder: Path, make: Callable[[Path], Mapping[str, Any]], glance: str | None) -> None:
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):  # of a process that was killed: nobody else is here
        shutil.rmtree(left, ignore_errors=True)
    temporary = folder.parent / f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir()
        notes = _made(make, temporary)
        files = {}
        for path in sorted(temporary.glob("*.npy")):
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
            state = path.stat()
            files[path.name] = {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "crc32": _checksum(path)}
        with open(temporary / DOCUMENT, "w", encoding="utf-8") as file:
            document = {"files": files, "notes": dict(notes)}
            json.dump(document | {"crc32": _content_checksum(document), "glance": glance}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        try:
            os.rename(temporary, folder)
        except OSError:
            if _read(folder) is None:  # else: without a lock another process was first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _made(make: Callable[[Path], Mapping[str, Any]], folder: Path) -> Mapping[str, Any]:
    try:
        return make(folder)
    except OSError as error:  # of the source, unless it names a file that is written
        if error.filename is None or folder in Path(error.filename).parents:
            raise
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}); check its rights, or put a good copy there"
        ) from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the system frees the lock of a process that dies."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes may do the same work, and the first to finish stays
        yield
        return
    with open(folder.parent / f".{folder.name}.lock", "wb") as lock:
        with VOICE.during(f"waiting for another process that prepares {folder.name}"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _content_checksum(document: Mapping[str, Any]) -> int:
    """Of what prepared.json says, whatever its layout."""
    content = {name: document[name] for name in ("files", "notes")}
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _checksum(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value
