"""W&B tracking that cannot cost a run its record: wandb lives in a child process of its own.

The child (bench/runs/tracking_child.py) is fed JSON lines. So the run imports no wandb, its memory peak holds
none of it, wandb never sees a terminal to ask questions on, and a call that hangs is ended by a clock and a
signal. What goes wrong is said on stderr and handed back as a note for the record; nothing is raised after
the mode is checked.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.store.records import plain
from bench.workers.children import Child
from settings.progress import VOICE
from settings.reasons import said

MODES = ("disabled", "offline", "online")
START_SECONDS = 60.0
FINISH_SECONDS = 120.0
ROOT = Path(__file__).resolve().parents[2]


class Tracker:
    """One run on W&B, or nothing at all with mode disabled. Use as a context: leaving it ends the child.

    settings: the `wandb` section of the configuration (mode, project, entity, group, name, tags). Files go to
    results_dir/wandb. Raises ValueError for an unknown mode, and nothing afterwards.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        results_dir: str | Path,
        *,
        start_seconds: float = START_SECONDS,
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        self.settings = plain(settings)
        if self.settings.get("mode") not in MODES:
            raise ValueError(f"wandb.mode: {self.settings.get('mode')!r} is not one of {', '.join(MODES)}")
        self.folder = Path(results_dir).resolve()
        self.start_seconds, self.finish_seconds = start_seconds, finish_seconds
        self.notes: list[str] = []
        self._child: Child | None = None

    def start(self, config: Mapping[str, Any], name: str | None = None) -> None:
        """Start the W&B run and wait for it (start_seconds at most): its work is over before a timing."""
        if self.settings["mode"] == "disabled":
            return
        command = [sys.executable, "-m", "bench.runs.tracking_child"]
        # W&B stores every variable of Slurm's with its value, a job's token (SLURM_JWT) too.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        environment |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - close() does
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Ctrl-C is for the run, which then finishes its tracking itself.
            self._child = Child(command, environment, cwd=ROOT, stderr=self._errors, own_session=True)
        except OSError as error:
            self._fail(f"its process did not start: {said(error)}")
            self._errors.close()
            return
        settings = {**self.settings, "name": self.settings.get("name") or name, "folder": str(self.folder)}
        self._call({"call": "start", "settings": settings, "config": plain(config)})
        self._wait_for("start", self.start_seconds)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Queue the numbers of a step; returns at once."""
        self._call({"call": "log", "step": int(step), "metrics": plain(metrics)})

    def finish(
        self,
        record: Mapping[str, Any],
        record_path: str | Path,
        table: Iterable[Mapping[str, Any]] | None = None,
    ) -> list[str]:
        """Log summary, table and the record's file as an artifact, end the run; returns all notes."""
        path = str(Path(record_path).resolve())
        rows = [plain(row) for row in table or ()]
        self._call({"call": "finish", "record": plain(record), "record_path": path, "table": rows})
        self._wait_for("finish", self.finish_seconds)
        self.close()
        return self.notes

    def close(self) -> None:
        """End the child and all its processes, whatever they do. Called again, does nothing."""
        child, self._child = self._child, None
        if child is None:
            return
        child.hang_up()
        with contextlib.suppress(TimeoutError):
            child.wait(0.2 if self.notes else 10)
        child.kill()  # with what it has started
        self._errors.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, message: Mapping[str, Any]) -> None:
        if self._child is not None:
            self._child.send(json.dumps(message))

    def _wait_for(self, call: str, seconds: float) -> None:
        """Wait for the child's answer to `call`; failures of calls before it come back here too."""
        deadline = time.monotonic() + seconds
        while self._child is not None:
            try:
                line = self._child.receive(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                self._fail(f"no answer to {call} within {seconds:g} s")
                return
            if line is None:
                self._fail(f"its process ended during {call}")
                return
            answer = json.loads(line)
            if answer["error"] is not None:
                self._fail(f"{answer['call']}: {answer['error']}")
            elif answer["call"] == call:
                return

    def _fail(self, what: str) -> None:
        """Note a failure and give up on W&B for this run."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        said = f" ({lines[-1][:300]})" if lines else ""
        note = f"wandb ({self.settings['mode']}) failed, the record is not affected: {what}{said}"
        self.notes.append(note)
        VOICE.say(note)
        self.close()
