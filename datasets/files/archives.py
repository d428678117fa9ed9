"""Published archives: where they may lie, unpacked or packed, how they are fetched and verified, and safely unpacked.

Looked for in data_dir: unpacked, then packed; what is not there is fetched, under a temporary name until its checksum
holds, and unpacked under another name and renamed.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import secrets
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch

from datasets.data import DataError
from settings.hidden import lies_hidden
from settings.progress import VOICE, Counter, items
from settings.reasons import said

_CONNECT_SECONDS, _READ_SECONDS = 5, 30
_BLOCK = 1 << 20


class _Bytes(Counter):
    """What pooch tells of a download; its own bar would fill a log."""

    def update(self, count: int = 1) -> None:
        super().update(count)
        self.report()


@dataclass(frozen=True)
class Archive:
    """A .tar or .tar.gz as published.

    file: its name. urls: its folders on the web, tried in this order; none where it is not fetched. checksum: "md5:..."
    or "sha256:...". folder: what data_dir holds when it is unpacked. inside: the archive's own top folder, or "" where
    its files have none. evidence: files or folders below `folder` by which it is known.
    """

    file: str
    urls: Sequence[str]
    checksum: str
    folder: str
    inside: str
    evidence: Sequence[str]


def unpacked(archive: Archive, data_dir: Path) -> Path:
    """The folder with the archive's files: found, or unpacked, or fetched and unpacked. DataError if that fails."""
    found = find(archive, data_dir)
    if found is not None:
        return found
    packed = data_dir / archive.file
    if packed.exists():
        verify(packed, archive.checksum)
    else:
        packed = fetch(archive, data_dir)
    return unpack(packed, archive, data_dir)


def find(archive: Archive, data_dir: Path) -> Path | None:
    """The unpacked folder: data_dir/<folder>, or data_dir itself; None where there is none with the evidence.

    A folder that is there without all of its evidence is refused, as it would hide the archive.
    """
    for folder in (data_dir / archive.folder, data_dir):
        if all((folder / name).exists() for name in archive.evidence):
            return folder
    own = data_dir / archive.folder
    if own.exists():
        missing = next(name for name in archive.evidence if not (own / name).exists())
        raise DataError(
            f"{own}: {missing} is not in it; unpack {archive.file} there completely, or remove the folder, and "
            "it is fetched and unpacked anew"
        )
    return None


def verify(path: Path, checksum: str) -> None:
    """DataError unless the file's bytes are the published ones."""
    kind, _, expected = checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    try:
        size = path.stat().st_size
        with (
            open(path, "rb") as file,
            Counter(size, "B", f"verifying {path.name}") as counter,
            VOICE.during(counter.text),
        ):
            while block := file.read(_BLOCK):
                digest.update(block)
                counter.update(len(block))
                counter.report()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({said(error)}); check that it is a readable file") from error
    if digest.hexdigest() != expected:
        raise DataError(
            f"{path}: its {kind.upper()} is {digest.hexdigest()}; the published file has {expected}. Delete it, and it "
            "is fetched anew (or put a good copy there)"
        )


def fetch(archive: Archive, data_dir: Path) -> Path:
    """The archive from the first address that gives the published bytes, each tried once."""
    by_hand = (
        f"Put {archive.file} into {data_dir} by hand, or unpack it there (as {data_dir / archive.folder}), or point "
        "data_dir=... to it"
    )
    return download(archive.file, archive.urls, archive.checksum, data_dir, data_dir, by_hand)


def download(name: str, urls: Sequence[str], checksum: str, folder: Path, data_dir: Path, by_hand: str) -> Path:
    """A file, into a folder in data_dir; by_hand: what to do where no address gives it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # else each address would be blamed for it
            pass
    except OSError as error:
        raise DataError(
            f"data_dir={str(data_dir)!r}: {name} is not there, and the folder to fetch it into cannot be written "
            f"({said(error)}); choose another with data_dir=..."
        ) from error
    failures = []
    pooch.get_logger().setLevel(logging.WARNING)  # what it would say stands in our line
    for url in urls:
        VOICE.report(f"fetching {name} from {url}")
        with _Bytes(None, "B", f"fetching {name}") as counter, VOICE.during(counter.text):
            downloader = pooch.HTTPDownloader(timeout=(_CONNECT_SECONDS, _READ_SECONDS), progressbar=counter)
            try:
                return Path(pooch.retrieve(url + name, checksum, name, folder, downloader=downloader))
            except (OSError, ValueError) as error:  # requests' errors; a wrong checksum
                failures.append(f"  {url}{name}: {reason(error)}")
    raise DataError(
        f"{name} is not in data_dir={str(data_dir)!r} and no address gave it:\n" + "\n".join(failures) + f"\n{by_hand}"
    )


def unpack(packed: Path, archive: Archive, data_dir: Path) -> Path:
    """Unpacks with Python's safe filter, which refuses links and paths that lead out of the folder. What the packing
    system added (settings/hidden.py) stays packed.
    """
    folder = data_dir / archive.folder
    fix = "delete it, and it is fetched anew" if archive.urls else "put a good copy there"
    temporary = data_dir / f".{archive.folder}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir(parents=True)
        with tarfile.open(packed) as tar:
            members = items(tar, f"unpacking {packed.name}", unit="file")
            own = (member for member in members if not lies_hidden(member.name))
            tar.extractall(temporary, own, filter="data")
            while tar.fileobj is not None and tar.fileobj.read(_BLOCK):  # to the end, where a .gz has its checksum
                pass
        made = temporary / archive.inside
        if not made.is_dir():
            raise DataError(f"{packed}: holds no folder {archive.inside}; {fix}")
        try:
            os.rename(made, folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{packed}: does not unpack ({said(error)}); {fix}") from error
    except OSError as error:
        raise DataError(
            f"{packed}: cannot be unpacked into {data_dir} ({said(error)}); free some space there, or choose another "
            "folder with data_dir=..."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def reason(error: BaseException) -> str:
    """The innermost error in one line: "Name or service not known" says more than "Max retries exceeded"."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    name, text = type(error).__name__, said(error)
    return name if text == name else f"{name}: {text}"
