"""What the tests of run.py share: composing the real configuration, running the real command, or a worker alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from bench.runs.check import check
from bench.runs.job import title
from bench.runs.run import Run
from bench.store import records
from datasets import registry
from datasets.data import Description

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
TINY = ["model.d_model=8", "model.n=8", "model.n_blocks=1", "hardware=cpu", "lease=false"]  # tests run side by side
EAGER = ["framework=torch", "framework.compile=none"]  # torch.compile takes longer than these runs

WORKER = [sys.executable, str(ROOT / "run.py"), "--worker"]
NUMPY_WORKER = [sys.executable, str(ROOT / "tests" / "numpy_worker.py")]  # starts in a second


def composed(*words: str) -> dict[str, Any]:
    """The configuration of `python run.py <words>`, resolved."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=list(words)), resolve=True)
    assert isinstance(config, dict)
    return {str(name): value for name, value in config.items()}


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """`python run.py <words>` in a folder and a process group of its own, output captured."""
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *words],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(*words: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """`python run.py <words>` to its end; sentences that were wrapped are whole again."""
    process = start(*words, cwd=cwd)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(words, process.returncode, re.sub(r"\n {4,}", " ", out), joined(err))


def joined(text: str) -> str:
    """Wrapped lines, of which the later ones are indented, as one."""
    return re.sub(r"\n +", " ", text)


def tiny_run(folder: Path, *words: str, device: str = "cpu", worker: Sequence[str] = NUMPY_WORKER) -> Run:
    """A run of one step, whose worker has the NumPy framework; without a certificate."""
    config = composed("task.steps=1", f"results_dir={folder}", "certificate=skip", *TINY[:3], *EAGER, *words)
    checked = replace(check(config), device=device, threads=1)
    machine = {"cpu": "any", "cores": 1, "logical_cores": 1, "gpu": None}
    record = records.new_record(config, machine=machine, device=device, threads=1)
    return Run(config, checked, ROOT, record, title(config), command=worker)


def status_of(run: Run) -> str:
    """Runs it to its end."""
    status: str = run.record_of_all()["status"]
    return status


def described(settings: dict[str, Any], data_dir: Path) -> Description:
    """registry.prepare without files: the description, with made-up numbers of sequences where only files know them."""
    description = registry.describe(settings)
    counts = description.counts or {"train": 10_000, "validation": 1_000, "test": 1_000}
    return replace(description, counts=counts)


def left_by_refusals(folder: Path) -> list[Path]:
    """What lies in the folder beside the records of refused jobs, which are taken away."""
    if (results := folder / "results").is_dir():
        found, damaged = records.read_records(results)
        assert damaged == []
        for record in found:
            assert record["status"] == "refused"
            (results / f"{record['id']}.json").unlink()
        results.rmdir()
    return list(folder.iterdir())
