"""Composes the configuration, runs it in a process of its own, leaves one record: see `python run.py --help`.

This process imports no framework. It is the parent of each run; `run.py --worker` is the run itself, which
imports models_<framework>.adapter and nothing of another framework.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
CONF = ROOT / "conf"


def main(words: list[str]) -> int:
    """The command line without the program's name -> the exit status."""
    if "--worker" in words:
        return worker()
    if "--help" in words or "-h" in words:
        from bench.choices import help_text

        print(help_text(CONF))
        return 0
    session = Session(words)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, session.interrupt)
    return session.run()


def worker() -> int:
    """One run: hands the framework's adapter to the bench, which imports none itself."""
    if sys.platform != "win32":  # Ctrl-C waits until the run can write a record of it (bench/worker.py)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    import importlib

    from bench.worker import start

    return start(lambda framework: importlib.import_module(f"models_{framework}.adapter").adapter)


class Session:
    """One command of the user: a run, or with -m a sweep of runs one after the other."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.sweep = "-m" in words or "--multirun" in words
        self.tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
        self.outcomes: list[Any] = []
        self.interrupted = False

    def interrupt(self, number: int, frame: object) -> None:
        """Ctrl-C, or `kill`: the worker writes its record first. Remembered, as the run may end as ok before."""
        self.interrupted = True
        raise KeyboardInterrupt

    def run(self) -> int:
        """Lets Hydra compose the configuration(s) and call `job` for each; the exit status."""
        import hydra
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its refusals: they are put in our words below
        with tempfile.TemporaryDirectory(prefix="ssm-bench-") as scratch:
            extra = [f"hydra.sweep.dir={scratch}"] if self.sweep else []  # Hydra's multirun.yaml: not wanted
            sys.argv[1:] = self.words + extra
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(self.job)()
            except (HydraException, OmegaConfBaseException) as error:
                return self._refuse(error)
            except KeyboardInterrupt:
                self.interrupted = True
        return self.run_ended()

    def job(self, composed: Any) -> None:
        """One configuration. A refusal or a failure is kept for the end: the other jobs of a sweep run."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        from bench.launch import Outcome, launch, title
        from bench.screen import CLOSED
        from bench.summary import headline, of_run
        from bench.sweeps import number
        from datasets.progress import VOICE

        config: dict[str, Any] = {}
        VOICE.number = number(len(self.outcomes) + 1, self.words, CONF) if self.sweep else ""
        try:
            config = OmegaConf.to_container(composed, resolve=True)
            outcome = launch(config, ROOT)
            print(of_run(outcome), flush=True)
        except BrokenPipeError as gone:  # Hydra would run the other jobs, for nobody
            raise SystemExit(CLOSED) from gone
        except (ValueError, OmegaConfBaseException) as error:
            if self.tracebacks or config.get("debug") is True:
                traceback.print_exc()
            outcome = Outcome(title(config), "refused", str(error), None)
            print(headline(outcome), file=sys.stderr, flush=True)
        self.outcomes.append(outcome)
        if self.interrupted or outcome.status == "interrupted":
            raise KeyboardInterrupt

    def _refuse(self, error: Exception) -> int:
        from bench.refusals import explain
        from datasets.progress import wrapped

        if self.tracebacks:
            traceback.print_exception(error)
        print(wrapped(explain(error, CONF, self.words)), file=sys.stderr)
        return 2

    def run_ended(self) -> int:
        """Exit status: 0 all done, 1 a run failed, 2 a run was refused, 130 Ctrl-C."""
        if self.sweep and self.outcomes:
            from bench.summary import of_sweep

            print(of_sweep(self.outcomes))
        if self.interrupted:
            return 130
        statuses = {outcome.status for outcome in self.outcomes} - {"ok", "skipped"}
        if not statuses:
            return 0
        return 2 if statuses == {"refused"} else 1


if __name__ == "__main__":
    from bench.screen import command

    sys.exit(command(lambda: main(sys.argv[1:])))
