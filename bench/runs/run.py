"""A run on its way: its certificate, its task with its workers, its record however it ends.

This process owns the record: it writes what workers have measured, whether the task ended well, by an error that a
worker told of, by a worker's death or by Ctrl-C. Only where this process itself is killed a worker writes the record
(bench/workers/worker.py). No framework is imported here, and no task is known by name.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.framework import FRAMEWORKS
from bench.runs import certify, sides
from bench.runs.check import Checked
from bench.runs.declared import declared
from bench.runs.interrupts import held_back
from bench.runs.leases import Lease
from bench.runs.plan import plan
from bench.runs.tracking import Tracker
from bench.store import certificate
from bench.store.records import read_record, set_status, write_record
from bench.store.schema import OWN, validate_own
from bench.tasks import registry
from bench.tasks.context import Context
from bench.workers.environment import environment
from bench.workers.observations import Observations, completed
from bench.workers.protocol import Build
from bench.workers.remote import Crew, Remote, RunEnded
from settings.progress import VOICE
from settings.reasons import said

Config = dict[str, Any]


def worker_command(tree: Path, interpreter: str = sys.executable) -> list[str]:
    """What starts a worker of a tree."""
    return [interpreter, str(tree / "run.py"), "--worker"]


class Run:
    """One configuration on its way; the record is filled as it goes.

    title: what lines of progress begin with. held: the cores that it may use; None: all. command: starts a worker;
    None: this tree's.
    """

    def __init__(
        self,
        config: Config,
        checked: Checked,
        root: Path,
        record: dict[str, Any],
        title: str,
        held: Lease | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.config, self.checked, self.root, self.record = config, checked, root, record
        self.title, self.held = title, held or Lease(())
        self.command = worker_command(root) if command is None else command
        self.folder = Path(config["results_dir"]).resolve()
        self.frameworks = self._frameworks()
        self.task = registry.find(config["task"]["name"])
        self.crew = Crew()
        self.trees = ExitStack()  # other commits' files, for the sides that run them
        self.recorded: Remote | None = None  # the worker whose measurements are the record's, now
        self.earlier: list[Observations] = []  # of those before it
        self.started = self.planned = False

    def record_of_all(self) -> dict[str, Any]:
        """Runs, and writes the record. RecordError where it cannot be written; ValueError for the user, before work."""
        with Tracker(self.config["wandb"], self.folder) as tracker, self.trees:
            try:
                status, message = self._attempt(tracker)
            except KeyboardInterrupt:
                status, message = self._interrupted()
            with held_back():
                if self.recorded is not None:
                    self.record = completed(self.record, self.recorded.seen, self.earlier)
                status, message = self._owned(status, message)
                set_status(self.record, status, message)
                path = write_record(self.record, self.folder)
            try:
                self.crew.leave()
                with VOICE.during("waiting for W&B"):
                    notes = tracker.finish(self.record, path, self._results())
                if notes:
                    self.record["notes"] += notes
                    write_record(self.record, self.folder)
            except KeyboardInterrupt:  # all is done; who started this run knows of it
                self.crew.kill()
        return read_record(path)

    def _owned(self, status: str, message: str | None) -> tuple[str, str | None]:
        """What the task has written of its own is as it has said, or it is left out and the run has failed."""
        problems = validate_own(self.record.get(OWN, {}), self.task.sections) if OWN in self.record else []
        if not problems:
            return status, message
        self.record.pop(OWN)
        said = f"the task's own part of the record is not as it has said: {'; '.join(problems)}"
        return ("failed", said) if status == "ok" else (status, f"{message}; {said}")

    def context(self, tracker: Tracker) -> Context:
        """What the task works with."""
        context = Context(
            settings=self.checked.settings,
            config=self.config,
            problem=self.checked.problem,
            frameworks=self.frameworks,
            build=self.request(),
            record=self.record,
            root=self.root,
            results_dir=self.folder,
            start=self._start,
            begin=self._begin,
            dismiss=self.crew.dismiss,
            certify=lambda: self._certify(context),
            on_epoch=lambda entry: tracker.log(entry["step"], entry),
            sides=sides.ready(self.checked.sides, self._side_builds(), self.root, self.trees),
        )
        return context

    def _side_builds(self) -> list[Build]:
        pairs = zip(self.checked.sides, self.checked.of_sides, strict=True)
        return [self.request(side.config, own) for side, own in pairs]

    def _attempt(self, tracker: Tracker) -> tuple[str, str | None]:
        """Certificate and task; status and message of the record. KeyboardInterrupt passes."""
        context = self.context(tracker)
        try:
            if self.task.certified and self.config["certificate"] != "skip":
                self._certify(context)
            with VOICE.during("waiting for W&B"):
                tracker.start(self.config, self.record["id"])
            self.task.run(context)
        except RunEnded as ended:
            if ended.trace is not None:
                self.record["notes"].append(f"traceback: {ended.trace}")
            return ended.status, str(ended)
        except Exception as error:
            if isinstance(error, ValueError) and not self.started:
                raise  # the user's to mend
            self.record["notes"].append(f"traceback: {traceback.format_exc()}")
            if self.config["debug"]:
                traceback.print_exc()
            return "failed", said(error)
        return "ok", None

    def _certify(self, context: Context) -> None:
        """The certificate, made by a crew that is gone before anything is timed."""
        found, note = certify.provide(context)
        self.crew.leave()
        self.record["certificate"] = certificate.for_record(found)
        if note is not None:
            context.note(note)
            VOICE.say(f"note: {note}")

    def _interrupted(self) -> tuple[str, str]:
        """Ctrl-C: what the workers still say, and then status and message."""
        error = self.crew.interrupt()
        if self.recorded is None:
            return "interrupted", "interrupted before the run began"
        if error is not None and error.kind == "interrupted":
            return "interrupted", error.message
        return "interrupted", "interrupted (Ctrl-C, or kill)"

    def _frameworks(self) -> dict[str, Config]:
        """The chosen framework, as it is set, and the one that a certificate compares it with."""
        own = self.config["framework"]
        partner = next(name for name in FRAMEWORKS if name != own["name"])
        return {own["name"]: own, partner: dict(declared(self.root / "conf", f"framework/{partner}"))}

    def request(self, config: Config | None = None, checked: Checked | None = None) -> Build:
        """What the run is about, or a side of it, as a worker is told."""
        config, checked = config or self.config, checked or self.checked
        settings = checked.settings
        return Build(
            framework=config["framework"]["name"],
            compile=config["framework"]["compile"],
            precision=config["precision"],
            device=checked.device,  # what hardware=auto means is decided here
            threads=checked.threads,
            seed=config["seed"],
            model=config["model"],
            dataset=config["dataset"],
            data_dir=config["data_dir"],
            batch_size=settings.batch_size,
            length=settings.length,
            optimiser=settings.optimiser_spec,
            title=self.title,
            debug=config["debug"],
        )

    def _start(
        self,
        build: Build,
        *,
        recorded: bool = False,
        on_notice: Any = None,
        command: Sequence[str] | None = None,
    ) -> Remote:
        others = {package for framework in FRAMEWORKS.values() for package in framework.packages}
        strangers = others - set(FRAMEWORKS[build.framework].packages)
        build = replace(build, strangers=sorted(strangers))
        if recorded:
            build = replace(build, record=self.record, results_dir=str(self.folder))
        cache = self.config["compile_cache"]
        variables = environment(build.threads, build.device, build.precision, os.environ, cache)
        self.started = True
        worker = self.crew.start(
            command or self.command, variables, build.framework, on_notice, cores=self.held.cores, files=self.held.files
        )
        if recorded:
            if self.recorded is not None:
                self.earlier.append(self.recorded.seen)
            self.recorded = worker
        worker.send(build)
        return worker

    def _begin(self, worker: Remote) -> None:
        with VOICE.during("importing the framework, loading the data and building the model"):
            worker.receive()
        if worker is self.recorded and not self.planned:
            self.planned = True
            record = completed(self.record, worker.seen)
            work = self.task.work(self.checked.settings, (self.checked.description.counts or {})["train"])
            VOICE.report(plan(record, work))

    def _results(self) -> list[dict[str, Any]]:
        """The results table that W&B shows; none is made for a run that nobody tracks."""
        if self.config["wandb"]["mode"] == "disabled":
            return []
        return registry.figures(self.record)
