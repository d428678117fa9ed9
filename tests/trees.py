"""A copy of the tree to which a test adds files, and the commands run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from commands import ROOT


def tree_with(folder: Path, files: Mapping[str, str]) -> Path:
    """The tracked sources and configurations in `folder`, and the files of these names that are not there yet."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if name.endswith((".py", ".yaml", ".toml")) and not name.startswith(("tests/", "results/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for name, text in files.items():
        assert not (folder / name).exists(), f"{name} is there already"
        (folder / name).write_text(text)
    return folder


def ran(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python <words>` in the tree."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *words], cwd=tree, env=variables, capture_output=True, text=True, timeout=240
    )
