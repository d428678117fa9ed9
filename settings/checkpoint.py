"""The format of checkpoints, and a trained network out of one: its options and weights, for either framework.

safetensors, arrays by name, and JSON in the header; nothing in the file is executed. `task=train` writes it
(bench/store/checkpoints.py).
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from settings.errors import SettingError
from settings.reasons import said

HEADER = "ssm-bench"  # our JSON in the file's header: version, step, network, and what the training goes on from
VERSION = 1
PARAMETER, STATISTIC = "parameter.", "statistic."  # before a tensor's dotted name: as of the last step
BEST = "best."  # the same, parameters and statistics, as of the best epoch


def weights(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The arguments of ssm.network.network_options, and the values by dotted name: those of the best epoch, or, before
    an epoch was over, the last ones. SettingError where the file is no whole checkpoint of a network.
    """
    try:
        with safe_open(path, framework="np") as file:
            network = json.loads((file.metadata() or {})[HEADER])["network"]
            names = list(file.keys())
            best = {name.removeprefix(BEST): name for name in names if name.startswith(BEST)}
            last = {
                name.removeprefix(prefix): name
                for prefix in (PARAMETER, STATISTIC)
                for name in names
                if name.startswith(prefix)
            }
            return network, {own: file.get_tensor(name) for own, name in (best or last).items()}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        fix = "give a file of results_dir/checkpoints."
        raise SettingError("path", str(path), f"is no whole checkpoint ({said(error)})", fix) from error


def of_model(network: dict[str, Any], model: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The keywords of a model's class. SettingError where the checkpoint is another model's."""
    if network["name"] != model:
        fix = f"use {str(network['name']).upper()}Model.from_checkpoint."
        raise SettingError("path", str(path), f"holds a network of {network['name']}, not of {model}", fix)
    sizes = {name: network[name] for name in ("d_input", "d_output", "l_max")}
    return {**{name: value for name, value in network["settings"].items() if name != "name"}, **sizes}
