"""A sweep: its jobs, launched as the user chooses, and how each ended.

A sweep is Hydra's: its grammar, its launchers, its folders. Otherwise than by Hydra's basic sweeper, a job that cannot
be composed does not stop the others, no multirun.yaml is left behind, and glob(...) finds choices only, not the parts
of others (conf/model/_network.yaml). Hydra tells of no job's end (a launcher may fork, and may raise), so each job's
configuration says which sweep it belongs to: its record is found by that.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeperConf
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import OmegaConf

from bench.runs.command import CONF, REFUSALS, as_refusal, composed_by
from bench.runs.job import job, title
from bench.runs.refusals import explain
from bench.store.outcome import Outcome
from bench.store.records import new_id, read_record
from settings.reasons import said

MOST_JOBS = 100_000  # which are listed before the first one runs


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its overrides, and those of them that tell it apart from the others."""

    overrides: list[str]
    label: str


class Sweep:
    """The jobs of a sweep. ValueError where there is none, or where another sweeper would choose them.

    tracebacks: whether those of refusals are shown, too.
    """

    def __init__(self, hydra: Hydra, name: str, overrides: Sequence[str], tracebacks: bool = False) -> None:
        self.hydra, self.name, self.tracebacks = hydra, name, tracebacks
        self.id = new_id("sweep")
        self.interrupted = False
        parsed = OverridesParser.create().parse_overrides([*overrides, "hydra.mode=MULTIRUN"])
        self.own = [str(override.input_line) for override in parsed if override.is_hydra_override()]
        try:
            self.master = composed_by(hydra, name, [str(override.input_line) for override in parsed])
        except REFUSALS:  # a setting that some of the jobs have, perhaps: each of them is told of its own
            self.master = composed_by(hydra, name, list(self.own))
        target = OmegaConf.select(self.master, "hydra.sweeper._target_")
        if target != BasicSweeperConf._target_:
            raise ValueError(
                f"hydra/sweeper={target}: chooses jobs by what others returned, and runs return records; leave it at "
                "hydra/sweeper=basic."
            )
        params = OmegaConf.to_container(self.master.hydra.sweeper.params or OmegaConf.create({}), resolve=True)
        assert isinstance(params, dict)
        given = OverridesParser.create().parse_overrides([f"{key!s}={value}" for key, value in params.items()])
        self.jobs = self._jobs([*given, *(override for override in parsed if not override.is_hydra_override())])

    def launch(self, ended: Callable[[Outcome], None]) -> list[Outcome]:
        """Runs the jobs by the launcher that the words choose; how each ended, in the sweep's order.

        ended: is given each outcome as soon as it is known. A job that cannot be composed does not stop the others;
        Ctrl-C does. Exceptions of the launcher itself end the sweep, and what the jobs have left by then is told.
        """
        callbacks = Callbacks(self.master)
        callbacks.on_multirun_start(config=self.master, config_name=self.name)
        context = HydraContext(config_loader=self.hydra.config_loader, callbacks=callbacks)
        if self.master.hydra.launcher is None:
            raise ValueError("hydra.launcher=null: nobody would run the jobs; leave it at hydra/launcher=basic.")
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=job, config=self.master)
        outcomes: dict[int, Outcome] = {}

        def keep(number: int, outcome: Outcome) -> None:
            outcomes[number] = outcome
            ended(outcome)

        try:
            if isinstance(launcher, BasicLauncher):
                self._in_turn(launcher, keep)
            else:
                self._at_once(launcher, keep)
        except KeyboardInterrupt:
            self.interrupted = True
        callbacks.on_multirun_end(config=self.master, config_name=self.name)
        return [outcomes[number] for number in sorted(outcomes)]

    def _in_turn(self, launcher: Launcher, keep: Callable[[int, Outcome], None]) -> None:
        for number, one in enumerate(self.jobs):
            try:
                (done,) = launcher.launch([self._words(number)], initial_job_idx=number)
                outcome = self._outcome(number, done)
            except Exception as error:  # noqa: BLE001 - this job's end, not that of the sweep
                outcome = self._not_run(one, as_refusal(error))
            keep(number, outcome)
            if outcome.status == "interrupted":
                raise KeyboardInterrupt

    def _at_once(self, launcher: Launcher, keep: Callable[[int, Outcome], None]) -> None:
        """All jobs that can be composed in one call, in other processes or on other machines."""
        folders: dict[int, Path] = {}
        for number, one in enumerate(self.jobs):
            try:
                config = self.hydra.config_loader.load_sweep_config(self.master, self._words(number))
                folders[number] = Path(str(config.results_dir))
            except Exception as error:  # noqa: BLE001 - the others run
                keep(number, self._not_run(one, as_refusal(error)))
        numbers, failure = sorted(folders), None
        begin = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"  # ids begin so: older records are not read
        done: Sequence[JobReturn] = ()
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CONF.parent), os.environ.get("PYTHONPATH")]))
        try:
            done = launcher.launch([self._words(number) for number in numbers], initial_job_idx=0)
        except Exception as error:  # noqa: BLE001 - of the launcher: what the jobs have left is told below
            traceback.print_exc()
            failure = f"{type(error).__name__}: {said(error)}"
        returned = dict(zip(numbers, done, strict=True)) if len(done) == len(numbers) else {}
        for number in numbers:
            if number in returned:
                keep(number, self._outcome(number, returned[number]))
            else:
                keep(number, self._left(number, folders[number], begin, failure))

    def _words(self, number: int) -> list[str]:
        """A job's overrides, with what tells its record apart from those of other sweeps and jobs."""
        own = f"sweep={{id:'{self.id}',number:{number + 1},count:{len(self.jobs)}}}"
        return [*self.jobs[number].overrides, own]

    def _outcome(self, number: int, done: JobReturn) -> Outcome:
        """What a job returned; what Hydra raised around it is its refusal."""
        if done.status == JobStatus.COMPLETED and isinstance(done._return_value, Outcome):
            return done._return_value
        return self._not_run(self.jobs[number], as_refusal(done._return_value))  # its property would raise

    def _left(self, number: int, folder: Path, begin: str, failure: str | None) -> Outcome:
        """What a job left whose launcher returned nothing of it: its record, or none."""
        wanted = {"id": self.id, "number": number + 1, "count": len(self.jobs)}
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            if path.name >= begin:
                record = read_record(path)
                if record["config"].get("sweep") == wanted:
                    return Outcome(title(record["config"]), record["status"], record["message"], path, record)
        reason = failure or "the launcher returned nothing of it"
        return Outcome(self._title(number), "failed", f"it left no record: {reason}", None)

    def _not_run(self, one: Job, error: Exception) -> Outcome:
        """A job that Hydra could not compose, or in which a mistake of ours came to light."""
        ours = not isinstance(error, REFUSALS)
        if ours or self.tracebacks:
            traceback.print_exception(error)
        words = [*self.own, *one.overrides]
        message = f"{type(error).__name__}: {error}" if ours else explain(error, CONF, words)
        return Outcome(one.label, "failed" if ours else "refused", message, None)

    def _title(self, number: int) -> str:
        return f"{number + 1}/{len(self.jobs)} {self.jobs[number].label}"

    def show(self, args: argparse.Namespace) -> Iterator[Outcome]:
        """Prints what --cfg asks for, a YAML document a job; yields the refusals of those that cannot be composed."""
        for number, one in enumerate(self.jobs):
            print(f"{'---' if number else ''}\n# {one.label}".lstrip("\n"))
            words = [*self.own, *one.overrides]
            try:
                self.hydra.show_cfg(self.name, words, args.cfg, args.package, args.resolve)
            except Exception as error:  # noqa: BLE001 - the other jobs are shown
                yield self._not_run(one, as_refusal(error))

    def _jobs(self, overrides: Sequence[Override]) -> list[Job]:
        """Every combination of the values, in Hydra's order; a later word for the same setting replaces an earlier."""
        values: dict[str, list[str]] = {}
        swept: set[str] = set()
        for override in overrides:
            name, word = override.get_key_element(), str(override.input_line)
            values[name] = self._values(override)
            swept -= {name}
            swept |= {name} if override.is_sweep_override() else set()
            if not values[name]:
                raise ValueError(f"{word}: gives no value, so that the sweep has no job; give at least one.")
        if math.prod(map(len, values.values())) > MOST_JOBS:
            raise ValueError(f"-m: more than {MOST_JOBS} jobs; give fewer values, or split the sweep.")
        jobs = []
        for chosen in itertools.product(*values.values()):
            telling = [word for name, word in zip(values, chosen, strict=True) if name in swept]
            jobs.append(Job(list(chosen), " ".join(telling or chosen) or "all defaults"))
        return jobs

    def _values(self, override: Override) -> list[str]:
        """The words that a sweep over one setting stands for; the word itself where it is none."""
        word, name = str(override.input_line), override.get_key_element()
        if not override.is_sweep_override():
            return [word]
        if not override.is_discrete_sweep():
            raise ValueError(f"{word}: has no single values that could be tried; use range(...) or choice(...).")
        if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
            found: Any = override.value()
            names = self.hydra.config_loader.get_group_options(override.key_or_group)
            parts = any(pattern.startswith("_") for pattern in found.include)
            return [f"{name}={choice}" for choice in found.filter(names) if parts or not choice.startswith("_")]
        several = [f"{name}={value}" for value in itertools.islice(override.sweep_string_iterator(), MOST_JOBS + 1)]
        if len(several) > MOST_JOBS:
            raise ValueError(f"{word}: more than {MOST_JOBS} jobs; give fewer values, or split the sweep.")
        return several
