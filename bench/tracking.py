"""W&B tracking that cannot cost a run its record: wandb lives in a child process of its own.

The child (bench/tracking_child.py) is fed JSON lines. So the run imports no wandb, its memory peak holds
none of it, wandb never sees a terminal to ask questions on, and a call that hangs is ended by a clock and a
signal. What goes wrong is said on stderr and handed back as a note for the record; nothing is raised after
the mode is checked.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.records import plain

MODES = ("disabled", "offline", "online")
START_SECONDS = 60.0
FINISH_SECONDS = 120.0
ROOT = Path(__file__).resolve().parents[1]


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
        self._child: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._outgoing: queue.Queue[str | None] = queue.Queue()

    def start(self, config: Mapping[str, Any], name: str | None = None) -> None:
        """Start the W&B run and wait for it (start_seconds at most): its work is over before a timing."""
        if self.settings["mode"] == "disabled":
            return
        command = [sys.executable, "-m", "bench.tracking_child"]
        # W&B stores every variable of Slurm's with its value, a job's token (SLURM_JWT) too.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        environment |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - close() does
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._child = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for the run, which then finishes its tracking itself
            )
        except OSError as error:
            self._fail(f"its process did not start: {error}")
            self._errors.close()
            return
        threading.Thread(target=self._read_answers, args=(self._child,), daemon=True).start()
        threading.Thread(target=self._write_calls, args=(self._child,), daemon=True).start()
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
        self._outgoing.put(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.2 if self.notes else 10)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is gone when all went well
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        self._errors.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, message: Mapping[str, Any]) -> None:
        if self._child is not None:
            self._outgoing.put(json.dumps(message))

    def _wait_for(self, call: str, seconds: float) -> None:
        """Wait for the child's answer to `call`; failures of calls before it come back here too."""
        deadline = time.monotonic() + seconds
        while self._child is not None:
            try:
                answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self._fail(f"no answer to {call} within {seconds:g} s")
                return
            if answer is None:
                self._fail(f"its process ended during {call}")
            elif answer["error"] is not None:
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
        print(note, file=sys.stderr)
        self.close()

    def _read_answers(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                self._answers.put(json.loads(line))
        self._answers.put(None)

    def _write_calls(self, child: subprocess.Popen[str]) -> None:
        """Feeds the child; a child that is gone is noticed by its silence, not here."""
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
            while (line := self._outgoing.get()) is not None:
                pipe.write(line + "\n")
                pipe.flush()
