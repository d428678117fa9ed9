"""A Hydra launcher that forks a process a job, two at a time: what a plugin of joblib's kind does.

Used by a test, which puts it into a hydra_plugins folder.
"""

# no postponed annotations: Hydra imports plugins without a place in sys.modules, where dataclasses look for them
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher

GIVEN: dict[str, Any] = {}


@dataclass
class ForkingConf:
    _target_: str = "hydra_plugins.forking.ForkingLauncher"
    raises: bool = False


class ForkingLauncher(Launcher):
    def __init__(self, raises: bool) -> None:
        self.raises = raises

    def setup(self, *, hydra_context, task_function, config) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        GIVEN.update(context=self.hydra_context, config=self.config, task=self.task_function)  # a fork inherits it
        with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
            done = list(pool.map(_run, range(len(job_overrides)), map(list, job_overrides)))
        if self.raises:
            raise RuntimeError("the scheduler is gone")
        return done


def _run(index: int, words: list[str]) -> JobReturn:
    context, config = GIVEN["context"], GIVEN["config"]
    sweep = context.config_loader.load_sweep_config(config, words)
    sweep.hydra.job.id, sweep.hydra.job.num = str(index), index
    Path(str(sweep.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
    return run_job(
        hydra_context=context,
        config=sweep,
        task_function=GIVEN["task"],
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


ConfigStore.instance().store(group="hydra/launcher", name="forking", node=ForkingConf, provider="forking")
