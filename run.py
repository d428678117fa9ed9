"""Composes the configuration, runs it in a process of its own, leaves one record: see `python run.py --help`.

This process imports no framework. It is the parent of each run; `run.py --worker` is the run itself, which
imports models_<framework>.adapter and nothing of another framework.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from bench.runs.command import Job
    from bench.store.outcome import Outcome

ROOT = Path(__file__).resolve().parent
CONF = ROOT / "conf"
ANSWERS_FAIL = (OSError, EOFError, pickle.UnpicklingError, LookupError, AttributeError, ImportError)  # on odd words


def main(words: list[str]) -> int:
    """The command line without the program's name -> the exit status."""
    if words[:1] == ["--worker"]:
        return worker()
    if "--help" in words or "-h" in words:
        from bench.runs.choices import help_text

        print(help_text(CONF))
        return 0
    session = Session(words)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, session.interrupt)
    return session.run()


def worker() -> int:
    """One run: hands the framework's adapter to the bench, which imports none itself."""
    if sys.platform != "win32":  # Ctrl-C waits until the run can write a record of it (bench/workers/worker.py)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    import importlib

    from bench.workers.worker import start

    return start(lambda framework: importlib.import_module(f"models_{framework}.adapter").adapter)


class Session:
    """One command of the user: a run, a sweep of runs one after the other, or a question that Hydra answers."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.sweep = bool({"-m", "--multirun"} & set(words))  # a file may say so too: _compose asks Hydra
        self.count = 1
        self.tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
        self.outcomes: list[Outcome] = []
        self.interrupted = False
        self.folder = Path.cwd()

    def interrupt(self, number: int, frame: object) -> None:
        """Ctrl-C, or `kill`: the worker writes its record first. Remembered, as the run may end as ok before."""
        self.interrupted = True
        raise KeyboardInterrupt

    def run(self) -> int:
        """Does what the words ask for; the exit status."""
        from bench.runs.command import REFUSALS, asks_hydra, parse
        from settings.progress import wrapped

        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its refusals: they are put in our words below
        refused = False
        try:
            args = parse(self.words)
            if args.help:  # in one of the shortened forms that argparse takes
                return main(["--help"])
            (self._ask if asks_hydra(args) else self._compose)(args)
        except (ValueError, *REFUSALS) as error:
            if self.tracebacks:
                traceback.print_exception(error)
            print(wrapped(self._explained(error, self.words)), file=sys.stderr)
            refused = True
        except KeyboardInterrupt:
            self.interrupted = True
        finally:  # also where a mistake of ours ends the sweep
            status = self.run_ended()
        return 2 if refused else status

    def _ask(self, args: argparse.Namespace) -> None:
        """What Hydra answers by itself: it shows a configuration, helps, completes words, runs a job once more."""
        import hydra

        from bench.runs.command import PRIMARY, VERSION_BASE, plain_words

        sys.argv[1:] = plain_words(args)
        try:
            hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name=PRIMARY)(self.job)()
        except (ValueError, *ANSWERS_FAIL) as error:
            if args.experimental_rerun is not None:
                fix = "name the config.pickle of a run made with Hydra's PickleJobInfoCallback."
                raise ValueError(f"--experimental-rerun={args.experimental_rerun}: {error}; {fix}") from error
            if args.shell_completion:
                fix = "python run.py --hydra-help says how it is installed; the shell asks the rest."
                raise ValueError(f"--shell-completion: {error}; {fix}") from error
            raise

    def _compose(self, args: argparse.Namespace) -> None:
        """A run, or the jobs of a sweep, one after the other; with --cfg the sweep's configurations are shown."""
        from bench.runs.command import PRIMARY, Sweep, composer, is_sweep

        name = args.config_name or PRIMARY
        with composer(args) as hydra:
            self.sweep = is_sweep(hydra, name, args)
            if not self.sweep:
                hydra.run(name, self.job, list(args.overrides))
                return
            sweep = Sweep(hydra, name, args.overrides)
            self.count = len(sweep.jobs)
            for job, error in sweep.show(args) if args.cfg else sweep.launch(self.job):
                if error is not None:
                    self._not_run(job, error, [*sweep.own, *job.overrides])

    def job(self, composed: Any) -> None:
        """One configuration. A refusal or a failure is kept for the end: the other jobs of a sweep run."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        from bench.runs.job import launch, title
        from bench.store.outcome import Outcome
        from bench.views.summary import headline, of_run
        from settings.progress import VOICE
        from settings.screen import CLOSED

        config: dict[str, Any] = OmegaConf.to_container(composed)
        VOICE.number = f"{len(self.outcomes) + 1}/{self.count}" if self.sweep else ""
        try:
            config = OmegaConf.to_container(composed, resolve=True)
            outcome = launch(config, ROOT)
            if outcome.path is not None and Path.cwd() != self.folder:  # hydra.job.chdir
                outcome = replace(outcome, path=outcome.path.absolute())
            print(of_run(outcome), flush=True)
        except BrokenPipeError as gone:  # Hydra would run the other jobs, for nobody
            raise SystemExit(CLOSED) from gone
        except (ValueError, OmegaConfBaseException) as error:
            if self.tracebacks or config.get("debug") is True:
                traceback.print_exc()
            outcome = Outcome(title(config), "refused", self._explained(error, self.words), None)
            print(headline(outcome), file=sys.stderr, flush=True)
        self.outcomes.append(outcome)
        if self.interrupted or outcome.status == "interrupted":
            raise KeyboardInterrupt

    def _not_run(self, job: Job, error: Exception, words: list[str]) -> None:
        """A job of a sweep that Hydra could not compose, or in which a mistake of ours came to light."""
        from bench.runs.command import REFUSALS
        from bench.store.outcome import Outcome
        from bench.views.summary import headline

        ours = not isinstance(error, REFUSALS)
        if ours or self.tracebacks:
            traceback.print_exception(error)
        message = f"{type(error).__name__}: {error}" if ours else self._explained(error, words)
        outcome = Outcome(job.label, "failed" if ours else "refused", message, None)
        print(headline(outcome), file=sys.stderr, flush=True)
        self.outcomes.append(outcome)

    def _explained(self, error: Exception, words: list[str]) -> str:
        from bench.runs.refusals import explain

        return explain(error, CONF, words)

    def run_ended(self) -> int:
        """Exit status: 0 all done, 1 a run failed, 2 a run was refused, 130 Ctrl-C."""
        if self.sweep and self.outcomes:
            from bench.views.summary import of_sweep

            print(of_sweep(self.outcomes))
        if self.interrupted:
            return 130
        statuses = {outcome.status for outcome in self.outcomes} - {"ok", "skipped"}
        if not statuses:
            return 0
        return 2 if statuses == {"refused"} else 1


if __name__ == "__main__":
    from settings.screen import command

    sys.exit(command(lambda: main(sys.argv[1:])))
