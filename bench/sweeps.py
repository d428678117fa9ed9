"""How many jobs a sweep has, as far as the words of the command say it: '3/12' stands before the lines of a job."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException

from bench.choices import choices, groups


def number(job: int, words: Sequence[str], conf: Path) -> str:
    """'3/12' of the third job, or '3' where the words do not say how many there are."""
    jobs = count(words, conf)
    return f"{job}" if jobs is None or job > jobs else f"{job}/{jobs}"


def count(words: Sequence[str], conf: Path) -> int | None:
    """The product of the numbers of values; None where another sweeper counts, or a word is not understood."""
    try:
        overrides = OverridesParser.create().parse_overrides([word for word in words if not word.startswith("-")])
    except HydraException:
        return None
    values = []
    for override in overrides:
        if override.key_or_group.startswith(("hydra/sweeper", "hydra.sweeper")):
            return None
        given: object = override.value() if override.is_sweep_override() else None
        if isinstance(given, Glob):
            if override.key_or_group not in groups(conf):
                return None
            values.append(len(given.filter(choices(conf, override.key_or_group))))
        elif override.is_sweep_override():
            if not override.is_discrete_sweep():
                return None
            values.append(sum(1 for _ in override.sweep_iterator()))
    return math.prod(values)
