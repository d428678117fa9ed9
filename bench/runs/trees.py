"""The source of another commit, for a side that runs it: laid out in a folder of its own, as git has it."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from settings.errors import SettingError


def commit_of(root: Path, revision: str, setting: str) -> str:
    """The whole hash. SettingError where git knows no such commit."""
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found is None:
        raise SettingError(
            setting, f"code={revision}", "is no commit of this clone", "give one that `git log` shows, or fetch it."
        )
    return found.decode().strip()


def lay_out(root: Path, commit: str, folder: Path) -> None:
    """The files of a commit, below a new folder."""
    packed = _git(root, "archive", "--format=tar", commit)
    assert packed is not None, commit
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _git(root: Path, *words: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False)
    except OSError:  # there is no git here
        return None
    return done.stdout if done.returncode == 0 else None
