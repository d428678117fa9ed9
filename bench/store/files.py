"""Writes a text file whole or not at all, with any number of processes in the same folder.

The text goes to a hidden temporary name in the same folder, unique by process and random number, is flushed
to the disk, and only then renamed. Readers see the old file, the new one or none; a process killed half-way
leaves a hidden temporary file that no reader opens. What it does not do: lock. Two writers of one name both
succeed, and the later one stays, so callers give every run a name of its own.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from settings.plain_json import strict_json
from settings.reasons import said

PROBE_BYTES = 256 * 1024  # more than a record takes: a folder that cannot hold it is told of before the run


class RecordError(ValueError):
    """A record, certificate or results folder that cannot be used as asked."""


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all, in a folder made if absent. Raises RecordError.

    Bytes of a file's name that the locale could not read become \\udcxx, which JSON reads back.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """The same of a file that is no text."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_sync(temporary, content)
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise RecordError(_refusal(path.parent, error, f"{path.name} was not written")) from error
    except BaseException:  # Ctrl-C between two system calls: tidy up, then let it through
        _remove(temporary)
        raise
    _sync_folder(path.parent)


def update_document(path: Path, change: Callable[[str], str], check: bool) -> None:
    """Rewrites a document to what `change` makes of it. With `check` it only looks. Raises RecordError where the
    document cannot be read, or is not up to date.
    """
    try:
        old = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); name the document") from error
    new = change(old)
    if check and new != old:
        raise RecordError(f"{path}: its tables are not those of the records; run without --check")
    if new != old:
        write_text(path, new)


def read_json(path: Path) -> Any:
    """The JSON value of a file. Raises RecordError naming the file when it is damaged or cannot be read."""
    try:
        return strict_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise RecordError(f"{path}: not a whole JSON file ({said(error)}); delete it or restore it") from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); check its name and rights") from error


def read_lines(path: Path) -> list[tuple[str, Any]]:
    """The JSON values of a file of lines, each with its place, 'FILE line N'. Raises RecordError like read_json."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: no UTF-8 text ({said(error)}); restore it") from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); check its name and rights") from error
    found = []
    for number, line in enumerate(lines, 1):
        place = f"{path} line {number}"
        try:
            found.append((place, strict_json(line)))
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{place}: not whole JSON ({said(error)}); restore the file") from error
    return found


def check_writable(folder: str | Path) -> None:
    """Create `folder` and prove that a record fits into it; raises RecordError otherwise. Leaves no file."""
    folder = Path(folder)
    probe = folder / f".probe.{os.getpid()}.{secrets.token_hex(6)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_and_sync(probe, b"0" * PROBE_BYTES)
    except OSError as error:
        raise RecordError(_refusal(folder, error, "no record could be written")) from error
    finally:
        _remove(probe)


def _write_and_sync(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable. The file is in place and whole already, so a refusal loses nothing."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders; a folder may be writable and not readable
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems that sync no folders
            consequence = "the file is whole but may not survive a power cut"
            raise RecordError(_refusal(folder, error, consequence)) from error
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:  # it was never made, or the folder refuses this too: the first error is the one to tell
        return


def _refusal(folder: Path, error: OSError, consequence: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        rule, fix = "the disk (or the quota) is full", "free some space, or choose a folder on another disk"
    elif isinstance(error, FileExistsError | NotADirectoryError):
        rule, fix = "it, or a folder above it, is a file", "choose another folder or move the file away"
    elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
        rule, fix = "this user may not write there", "change its rights or choose another folder"
    else:
        rule, fix = f"the system says: {error.strerror or error}", "choose another folder"
    return f"results folder {folder}: {consequence}: {rule}; {fix} (results_dir=...)"
