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
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

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
        self.tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
        self.outcomes: list[Outcome] = []
        self.interrupted = False

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
        from bench.runs.job import job

        sys.argv[1:] = plain_words(args)
        try:
            # a job that is run once more tells its outcome to nobody else
            run = hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name=PRIMARY)
            run(lambda config: self._tell(job(config)))()
        except (ValueError, *ANSWERS_FAIL) as error:
            if args.experimental_rerun is not None:
                fix = "name the config.pickle of a run made with Hydra's PickleJobInfoCallback."
                raise ValueError(f"--experimental-rerun={args.experimental_rerun}: {error}; {fix}") from error
            if args.shell_completion:
                fix = "python run.py --hydra-help says how it is installed; the shell asks the rest."
                raise ValueError(f"--shell-completion: {error}; {fix}") from error
            raise

    def _compose(self, args: argparse.Namespace) -> None:
        """A run, or the jobs of a sweep; with --cfg the sweep's configurations are shown."""
        from bench.runs.command import PRIMARY, composer, is_sweep
        from bench.runs.job import job

        name = args.config_name or PRIMARY
        with composer(args) as hydra:
            self.sweep = is_sweep(hydra, name, args)
            if self.sweep:
                self._swept(hydra, name, args)
            else:
                self._tell(hydra.run(name, job, list(args.overrides)).return_value)

    def _swept(self, hydra: Any, name: str, args: argparse.Namespace) -> None:
        from bench.runs.sweep import Sweep

        sweep = Sweep(hydra, name, args.overrides, self.tracebacks)
        if args.cfg:
            for outcome in sweep.show(args):
                self._tell(outcome)
            return
        sweep.launch(self._tell)
        self.interrupted |= sweep.interrupted

    def _tell(self, outcome: Outcome) -> None:
        """How a job ended, as soon as it is known."""
        from bench.views.summary import headline, of_run

        self.outcomes.append(outcome)
        if outcome.path is None or outcome.status == "refused":
            print(headline(outcome), file=sys.stderr, flush=True)
        else:
            print(of_run(outcome), flush=True)
        if self.interrupted or outcome.status == "interrupted":
            raise KeyboardInterrupt

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
