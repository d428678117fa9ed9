"""What a task is given to work with: its settings, the run's configuration and record, and workers to start.

A task asks its workers and says what it has to say; the run's owner (bench/runs/job.py) makes the record of what the
workers have measured, writes it however the task ends, and ends the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from bench.tasks.settings import Common
from bench.tasks.side import Ready
from bench.workers.protocol import Build
from bench.workers.remote import Remote
from settings.problem import Problem


class Start(Protocol):
    """Starts a worker and sends it its Build request, whose answer is still to be received.

    recorded: its measurements are the record's, and it writes that record where this process is gone. on_notice: is
    given each notice's body. command: starts it; None: as the run's own.
    """

    def __call__(
        self,
        build: Build,
        *,
        recorded: bool = False,
        on_notice: Callable[[Any], None] | None = None,
        command: Sequence[str] | None = None,
    ) -> Remote: ...


@dataclass(frozen=True)
class Context:
    """One run of a task.

    problem: what the data asks, at the run's length. frameworks: conf/framework of the run's own
    one, first, and of the one that it is compared with. build: what the run is about, as a request. record: the task
    may fill `own`, `certificate` and `notes`; the workers' part comes by itself. begin: takes a worker that was
    started, and waits until its network is built. dismiss: lets workers go, and waits for their ends. certify: looks
    the run's certificate up, or makes it. on_epoch: takes an entry of the curve, for who watches. sides: of a
    comparison, as the task has named them, the run's own first.
    """

    settings: Any  # the task's own Settings
    config: Mapping[str, Any]
    problem: Problem
    frameworks: Mapping[str, Mapping[str, Any]]
    build: Build
    record: dict[str, Any]
    root: Path
    results_dir: Path
    start: Start
    begin: Callable[[Remote], None]
    dismiss: Callable[[Sequence[Remote]], None]
    certify: Callable[[], None]
    on_epoch: Callable[[Mapping[str, Any]], None]
    sides: Sequence[Ready] = ()

    def note(self, text: str) -> None:
        """Something that a reader of the figures should know."""
        self.record["notes"].append(text)

    def build_of(self, settings: Common, **changes: Any) -> Build:
        """The run's request with another task's batches and optimiser, and with other fields changed."""
        own: dict[str, Any] = {name: getattr(settings, name) for name in ("batch_size", "length")}
        return replace(self.build, **own, optimiser=settings.optimiser_spec, **changes)
