"""How a run ended, as its parent says it: its record where there is one, and why where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How a run ended. status: a record's status, or skipped (done before)."""

    label: str
    status: str
    message: str | None
    path: Path | None
    record: Mapping[str, Any] | None = None
