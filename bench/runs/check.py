"""Whether a composed configuration can be run: everything that is known before a framework is imported.

The shell's variables (bench/measure/variables.py), types and ranges of every setting, choices, combinations, the
results folder, the hardware, the data set's files and the model's own options. A refusal is a ValueError with the
setting's name, the value, the rule and the fix. Not checked: whether the model fits into memory, unless it has no
chance, and whether the framework finds the device (its adapter says so).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from bench.framework import FRAMEWORKS, Group
from bench.measure import machine
from bench.measure.variables import refuse
from bench.runs.choices import nearest
from bench.runs.declared import check_declared, check_group
from bench.runs.sides import Composed, composed
from bench.store.records import check_writable
from bench.store.schema import PRECISIONS
from bench.tasks import registry as tasks
from bench.tasks.settings import Common
from bench.workers.options import model_options, problem_at
from datasets import registry
from datasets.data import Description
from settings.errors import SettingError
from settings.problem import Problem
from settings.reasons import said
from settings.rules import check_choice, check_flag, check_seed, check_whole
from ssm.network import NetworkOptions, initial, least_bytes, statistic_names

CONF = Path(__file__).resolve().parents[2] / "conf"
CERTIFICATES = ("auto", "require", "skip")
WANDB_MODES = ("disabled", "offline", "online")

Rule = Callable[[str, object], None]


@dataclass(frozen=True)
class Checked:
    """What the check found out on its way."""

    description: Description
    settings: Common  # of the task, its own
    problem: Problem  # at the length of the run
    options: NetworkOptions
    threads: int
    device: str  # "cpu" or "gpu": what the run will use, as far as it can be told without a framework
    sides: Sequence[Composed] = ()  # of a comparison, its own configuration first
    of_sides: Sequence[Checked] = ()  # what the check found out of each


def check(config: Mapping[str, Any]) -> Checked:
    """Refuses a configuration that cannot be run, with a ValueError; prepares the data set's files last."""
    refuse(os.environ)
    own = _checked(config)
    named = tasks.find(config["task"]["name"]).sides(own.settings, config)
    if not named:
        return own
    found = composed(config, named, CONF)
    return replace(own, sides=found, of_sides=[own, *map(_of_side, found[1:])])


def _of_side(side: Composed) -> Checked:
    try:
        return _checked(side.config)
    except ValueError as error:
        raise ValueError(f"side {side.label!r}: {said(error)}") from error


def _checked(config: Mapping[str, Any]) -> Checked:
    check_declared(config, CONF)
    _check_root(config)
    threads, device = _check_hardware(config)
    _check_framework(config["framework"])
    settings = tasks.settings(config["task"])
    description = registry.describe(config["dataset"])
    _check_batch(settings.batch_size, description)
    problem = problem_at(settings.length, description.problem)
    options = model_options(config["model"], problem)
    _check_groups(settings.optimiser_spec.groups, options)
    _check_memory(options, 0 if device == "gpu" else settings.batch_size * problem.length)
    check_writable(config["results_dir"])
    description = registry.prepare(config["dataset"], config["data_dir"])
    _check_batch(settings.batch_size, description)  # some counts are in the files only
    return Checked(description, settings, problem, options, threads, device)


def _check_groups(groups: Sequence[Group], options: NetworkOptions) -> None:
    """Each name has to be one, or it would change nothing and nobody would know."""
    if not groups:
        return
    parameters = initial(options, 0).keys() - statistic_names(options)
    for place, group in enumerate(groups):
        for pattern in group.names:
            if not any(fnmatchcase(name, pattern) for name in parameters):
                close = nearest(pattern, parameters)
                known = f"did you mean {close}?" if close else f"such as {sorted(parameters)[0]}."
                setting = f"task.optimiser.groups[{place}].names"
                raise SettingError(setting, pattern, f"is the name of no parameter of {options.name}", known)


def _check_batch(batch_size: int, description: Description) -> None:
    if description.counts is not None and batch_size > description.counts["train"]:
        count = description.counts["train"]
        raise SettingError(
            "task.batch_size",
            batch_size,
            f"dataset={description.name} has {count} training sequences",
            f"set task.batch_size={count} or less.",
        )


def _check_memory(options: NetworkOptions, steps: int) -> None:
    """Refuses what has no chance. steps: of a batch, in all; each has the features twice, of two bytes at least."""
    values, activations = least_bytes(options), 2 * 2 * steps * options.d_model
    usable = machine.memory_bytes()
    if values + activations > usable:
        raise SettingError(
            "model.d_model",
            options.d_model,
            (
                f"with n={options.layers[0].n}, n_blocks={len(options.layers)} and {steps} steps a batch "
                f"this takes more than {(values + activations) / 1000000000.0:.4g} GB, and this process may "
                f"use {usable / 1000000000.0:.4g} GB"
            ),
            "lower the one that is too large, or task.batch_size, or task.length.",
        )


def has_nvidia_gpu() -> bool:
    """Whether the system shows an NVIDIA GPU to this process; no framework is asked."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return False
    gpus = Path("/proc/driver/nvidia/gpus")
    if gpus.is_dir() and any(gpus.iterdir()):
        return True
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listed = subprocess.run([tool, "-L"], capture_output=True, encoding="utf-8", errors="replace", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU " in listed.stdout


def _check_root(config: Mapping[str, Any]) -> None:
    groups = {name: check_group for name in ("framework", "model", "dataset", "hardware", "task")}
    rules: dict[str, Rule] = {
        **groups,
        "seed": check_seed,
        "precision": partial(check_choice, choices=PRECISIONS),
        "threads": _optional(check_whole),
        "results_dir": _text,
        "data_dir": _text,
        "compile_cache": _optional(_text),
        "certificate": partial(check_choice, choices=CERTIFICATES),
        "resume": _resume,
        "debug": check_flag,
        "lease": check_flag,
        "sweep": _optional(_sweep),
        "wandb": check_group,
    }
    _apply("", config, rules)
    texts = {name: _optional(_text) for name in ("entity", "group", "name")}
    mode = partial(check_choice, choices=WANDB_MODES)
    _apply("wandb.", config["wandb"], {"mode": mode, "project": _text, **texts, "tags": _texts})


def _check_hardware(config: Mapping[str, Any]) -> tuple[int, str]:
    """Threads and device of the run."""
    hardware, precision = config["hardware"]["name"], config["precision"]
    check_choice("hardware", hardware, ("auto", "cpu", "gpu"))
    found = hardware != "cpu" and has_nvidia_gpu()
    if hardware == "gpu" and not found:
        raise SettingError("hardware", "gpu", "there is no NVIDIA GPU that this process can use", "set hardware=cpu.")
    if precision == "tf32" and not found:
        raise SettingError(
            "precision",
            "tf32",
            f"TensorFloat-32 exists on NVIDIA GPUs only, and hardware={hardware} means the CPU here",
            "set precision=fp32.",
        )
    usable = machine.usable_cores()
    threads = config["threads"] or machine.default_threads()
    if threads > usable:
        raise SettingError(
            "threads", threads, f"this process may use {usable} logical cores", f"set threads={usable} or less."
        )
    return threads, "gpu" if found else "cpu"


def _check_framework(framework: Mapping[str, Any]) -> None:
    name = framework["name"]
    modes = FRAMEWORKS[name].modes
    _apply("framework.", framework, {"name": _text, "compile": partial(check_choice, choices=tuple(modes))})
    if missing := machine.missing_packages(name):
        raise SettingError(
            "framework",
            name,
            f"needs {', '.join(missing)}, not installed here",
            'run pip install -e ".[bench]".',
        )


def _apply(prefix: str, settings: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Each setting by its rule. A setting without a rule is a mistake of ours: `check_declared` knows the names."""
    assert set(settings) == set(rules), sorted(set(settings) ^ set(rules))
    for name, rule in rules.items():
        rule(prefix + name, settings[name])


def _optional(rule: Rule) -> Rule:
    return lambda name, value: None if value is None else rule(name, value)


def _resume(name: str, value: object) -> None:
    if value != "auto" and not isinstance(value, bool):
        raise SettingError(name, value, "must be true, false or auto", "set resume=auto to go on with a training.")


def _sweep(name: str, value: object) -> None:
    known = {"id": _text, "number": check_whole, "count": check_whole}
    if not isinstance(value, Mapping) or value.keys() != known.keys():
        raise SettingError(
            name, value, "says which job of which sweep this is, and the command says it", "leave it out."
        )
    for part, rule in known.items():
        rule(f"{name}.{part}", value[part])


def _text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value or "\0" in value:
        raise SettingError(name, value, "must be a text that is not empty, without NUL", f"give {name}=<text>.")


def _texts(name: str, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise SettingError(name, value, "must be a list of texts that are not empty", f"give {name}=[a,b], say.")
