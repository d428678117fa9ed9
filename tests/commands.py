"""What the tests of run.py share: composing the real configuration, and running the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
TINY = ["model.d_model=8", "model.n=8", "model.n_blocks=1", "hardware=cpu"]
EAGER = ["framework=torch", "framework.compile=none"]  # torch.compile takes longer than these runs


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
    """`python run.py <words>` to its end."""
    process = start(*words, cwd=cwd)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(words, process.returncode, out, err)
