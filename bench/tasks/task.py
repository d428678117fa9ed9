"""What a task is: its settings, what it does, and the quantities of its records that tables and summaries show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.store.schema import Section
from bench.tasks.context import Context
from bench.tasks.settings import Common
from bench.tasks.side import Side

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """One quantity of a record.

    samples: of a record of the task, in the record's unit; none where it was not measured. unit, and scale, which leads
    to it: as tables show it. form: how a summary writes a value; None: not at all. selected: whether it depends on who
    chose the best epoch. note: what tables say below it.
    """

    name: str
    title: str
    samples: Callable[[Record], list[float]]
    unit: str = ""
    scale: float = 1.0
    form: str | None = ".3g"
    selected: bool = False
    note: str | None = None

    @property
    def label(self) -> str:
        """'train step (ms)'."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


PEAK = "Peak memory: of the whole process over imports and data (on a CPU), with what compilation took."


def _unsaid(settings: Any, sequences: int) -> str:
    return "as its settings say"


def _alone(settings: Any, config: Mapping[str, Any]) -> Sequence[Side]:
    return ()


def _speechless(record: Record) -> str | None:
    return None


@dataclass(frozen=True)
class Task:
    """settings: made of the task's YAML group, and checks itself. run: fills the record, through the context.

    certified: whether its figures want a certificate that the frameworks agree. exclusive: whether it clocks, and so
    wants the machine for itself. looking: names of settings that say how
    long and how often it looks, and not at what. sections: of its own in a record, below `own`, with their checks.
    work: from its settings and the number of training sequences to how much there is to do, in a few words. sides: of a
    comparison, from its settings and the run's configuration, which is the first of them. sentence: of a record what is
    printed last.
    """

    settings: type[Common]
    run: Callable[[Context], None]
    measures: Sequence[Measure] = ()
    certified: bool = False
    exclusive: bool = False
    looking: frozenset[str] = frozenset()
    sections: Section = field(default_factory=dict)
    work: Callable[[Any, int], str] = _unsaid
    sides: Callable[[Any, Mapping[str, Any]], Sequence[Side]] = _alone
    sentence: Callable[[Record], str | None] = _speechless


def at(path: str) -> Callable[[Record], list[float]]:
    """Reads what lies at a dotted path of a record: a number, a list of them, or the samples of a spread."""

    def samples(record: Record) -> list[float]:
        value: Any = record
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            value = value.get("samples")
        items = value if isinstance(value, list) else [value]
        return [float(item) for item in items if item is not None]

    return samples
