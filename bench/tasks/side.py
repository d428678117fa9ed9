"""A side of a comparison: what it is called, and how it differs from the run's own configuration.

Named by a task before anything is checked; made ready by the run (bench/runs/sides.py), for a task to start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.workers.protocol import Build


@dataclass(frozen=True)
class Side:
    """words: overrides of the run's configuration. setting: that names them. label: None: its words."""

    words: tuple[str, ...]
    setting: str
    label: str | None = None


@dataclass(frozen=True)
class Ready:
    """A side that can be started.

    label: what it is called. words: as given. config: its resolved configuration. build: its request. command: starts
    its workers; None: as the run's own. code: the commit that it runs; None: this tree. planted: so much more work in
    its rounds, as a share.
    """

    label: str
    words: tuple[str, ...]
    config: Mapping[str, Any]
    build: Build
    command: Sequence[str] | None = None
    code: str | None = None
    tree: Path | None = None
    planted: float = 0.0
