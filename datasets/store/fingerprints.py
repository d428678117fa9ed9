"""Whether files and folders are still those that arrays were made from: at a glance in every run, thoroughly where the
glance tells of a change. It reads no file's bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from settings import hidden


@dataclass(frozen=True)
class Fingerprint:
    """What arrays are made from. glance: names, sizes and times of `paths`, files and folders, and of folders below
    them, whose times tell of files that come or go.
    """

    glance: str
    paths: tuple[Path, ...]

    def thorough(self) -> str:
        """Names, sizes and times of all files, those in folders included, and nothing of what systems leave there
        (settings/hidden.py): the same where only such a file came. OSError where one cannot be asked.
        """
        digest = hashlib.sha256()
        for path in sorted(self.paths):
            for each in _files(path):
                state = _state(each)
                name = each.relative_to(path.parent).as_posix()
                digest.update(f"{name} {state.st_size} {state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:12]


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, below, names in os.walk(path):
        below[:] = hidden.own(below)
        yield from (Path(folder, name) for name in hidden.own(names))


def _state(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:  # a link that leads nowhere: of the link itself
        return path.lstat()


def fingerprint(*paths: Path) -> Fingerprint:
    """The files and folders, with a first glance at them. OSError where they cannot be read.

    The files in a folder are not asked: a hundred thousand of them take minutes on a network's disk, in every run.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        # os.walk asks no file what it is: a hundred thousand clips take a tenth of a second
        own = sorted(Path(below) for below, _, _ in os.walk(path)) if path.is_dir() else [path]
        for each in own:
            state = each.stat()
            size = 0 if each.is_dir() else state.st_size
            digest.update(f"{each.name} {size} {state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return Fingerprint(digest.hexdigest()[:12], paths)
