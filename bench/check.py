"""Whether a composed configuration can be run: everything that is known before a framework is imported.

The shell's variables (bench/variables.py), types and ranges of every setting, choices, combinations, the results
folder, the hardware, the data set's files and the model's own options. A refusal is a ValueError with the setting's
name, the value, the rule and the fix. Not checked: whether the model fits into memory, and whether the framework finds
the device (its adapter says so).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine
from bench.choices import nearest
from bench.framework import OptimiserSpec
from bench.records import check_writable
from bench.schedules import NAMES as SCHEDULES
from bench.schema import PHASES
from bench.variables import refuse
from datasets import registry
from datasets.data import Description
from ssm.checks import check_choice, check_flag, check_number, check_whole
from ssm.network import NetworkOptions, network_options

PRECISIONS = ("fp32", "fp64", "tf32", "bf16")
CERTIFICATES = ("auto", "require", "skip")
WANDB_MODES = ("disabled", "offline", "online")

Rule = Callable[[str, object], None]


@dataclass(frozen=True)
class Checked:
    """What the check found out on its way."""

    description: Description
    options: NetworkOptions
    threads: int
    device: str  # "cpu" or "gpu": what the run will use, as far as it can be told without a framework
    length: int


def check(config: Mapping[str, Any]) -> Checked:
    """Refuses a configuration that cannot be run, with a ValueError; prepares the data set's files last."""
    refuse(os.environ)
    _check_root(config)
    threads, device = _check_hardware(config)
    _check_framework(config["framework"])
    task = config["task"]
    _check_task(task)
    description = registry.describe(config["dataset"])
    _check_batch(task["batch_size"], description)
    length = length_of(task, description)
    options = model_options(config["model"], description, length)
    check_writable(config["results_dir"])
    description = registry.prepare(config["dataset"], config["data_dir"])
    _check_batch(task["batch_size"], description)  # some counts are in the files only
    return Checked(description, options, threads, device, length)


def length_of(task: Mapping[str, Any], description: Description) -> int:
    """Of the sequences as they are used; ValueError where the data cannot have it."""
    length: int = task["length"] or description.length
    if description.padded and length > description.length:
        raise ValueError(
            f"task.length={length}: dataset={description.name} has sequences of up to {description.length} tokens, and "
            f"repeated ones would hold padding in between; set task.length={description.length} or less, or make the "
            "data longer where it has a dataset.length."
        )
    return length


def model_options(model: Mapping[str, Any], description: Description, length: int) -> NetworkOptions:
    """The network's options for this data at this length. ValueError where they do not go together."""
    tokens = description.vocabulary is not None
    fitting = "embedding" if tokens else "linear"
    encoder = fitting if model["encoder"] == "auto" else model["encoder"]
    if encoder in ("linear", "embedding") and encoder != fitting:
        kind = "tokens" if tokens else "real numbers"
        raise ValueError(f"model.encoder={encoder}: dataset={description.name} holds {kind}; set model.encoder=auto.")
    if model["readout"] == "none":
        raise ValueError(
            f"model.readout=none: gives an answer for each step, but dataset={description.name} has one "
            "target a sequence; set model.readout=mean (or last, first)."
        )
    of_data = {"padded": description.padded, "documents": description.documents}
    for name in of_data.keys() & model.keys():
        raise ValueError(f"model.{name}={model[name]!r}: is the data set's to say, not the model's; leave it out.")
    d_input = description.vocabulary if tokens else description.channels
    assert d_input is not None
    try:
        return network_options(
            model["name"], d_input, description.classes, length, {**model, **of_data, "encoder": encoder}
        )
    except ValueError as error:
        name = str(error).split("=", 1)[0]
        raise ValueError(f"model.{error}" if name in model else str(error)) from error


def _check_batch(batch_size: int, description: Description) -> None:
    if description.counts is not None and batch_size > description.counts["train"]:
        count = description.counts["train"]
        raise ValueError(
            f"task.batch_size={batch_size}: dataset={description.name} has {count} training sequences; set "
            f"task.batch_size={count} or less."
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
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU " in listed.stdout


def _check_root(config: Mapping[str, Any]) -> None:
    groups = {name: _group for name in ("framework", "model", "dataset", "hardware", "task")}
    rules: dict[str, Rule] = {
        **groups,
        "seed": partial(check_whole, least=0),
        "precision": partial(check_choice, choices=PRECISIONS),
        "threads": _optional(check_whole),
        "results_dir": _text,
        "data_dir": _text,
        "compile_cache": _optional(_text),
        "certificate": partial(check_choice, choices=CERTIFICATES),
        "resume": check_flag,
        "debug": check_flag,
        "wandb": _group,
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
        raise ValueError("hardware=gpu: there is no NVIDIA GPU that this process can use; set hardware=cpu.")
    if precision == "tf32" and not found:
        raise ValueError(
            f"precision=tf32: TensorFloat-32 exists on NVIDIA GPUs only, and hardware={hardware} means the "
            "CPU here; set precision=fp32."
        )
    usable = machine.usable_cores()
    threads = config["threads"] or machine.default_threads()
    if threads > usable:
        raise ValueError(
            f"threads={threads}: this process may use {usable} logical cores; set threads={usable} or less."
        )
    return threads, "gpu" if found else "cpu"


def _check_framework(framework: Mapping[str, Any]) -> None:
    rules: dict[str, Rule] = {
        "name": _text,
        "compile": _text,
        "modes": _texts,
        "packages": _texts,
    }
    _apply("framework.", framework, rules)
    check_choice("framework.compile", framework["compile"], framework["modes"])
    missing = missing_packages(framework)
    if missing:
        raise ValueError(
            f"framework={framework['name']}: needs {', '.join(missing)}, not installed here; "
            'run pip install -e ".[bench]"'
        )


def missing_packages(framework: Mapping[str, Any]) -> list[str]:
    """The packages of a framework (conf/framework) that are not installed."""
    versions = machine.package_versions(framework["packages"])
    return [name for name, version in versions.items() if version is None]


def _check_task(task: Mapping[str, Any]) -> None:
    shared: dict[str, Rule] = {
        "name": partial(check_choice, choices=tuple(_TASKS)),
        "batch_size": check_whole,
        "length": _optional(check_whole),
        "optimiser": _group,
        "clip_norm": _optional(partial(check_number, low=0.0, open_low=True)),
    }
    check_choice("task", task.get("name"), tuple(_TASKS))
    _apply("task.", task, {**shared, **_TASKS[task["name"]]})
    rate = partial(check_number, low=0.0)
    moment = partial(check_number, low=0.0, high=1.0, open_high=True)
    above = partial(check_number, low=0.0, open_low=True)
    rules: dict[str, Rule] = dict(rate=rate, ssm_rate=rate, weight_decay=rate, beta1=moment, beta2=moment, eps=above)
    _apply("task.optimiser.", task["optimiser"], rules)
    OptimiserSpec(**task["optimiser"], clip_norm=task["clip_norm"])
    if "schedule" in task:
        inside = partial(check_number, low=0.0, high=1.0, open_low=True, open_high=True)
        rules = {
            "name": partial(check_choice, choices=SCHEDULES),
            "warmup": moment,
            "final": partial(check_number, low=0.0, high=1.0),
            "factor": inside,
            "patience": partial(check_whole, least=0),
        }
        _apply("task.schedule.", task["schedule"], rules)


def _apply(prefix: str, settings: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Each setting by its rule; one that has no rule, or that is missing, is refused."""
    for name, value in settings.items():
        if name not in rules:
            close = nearest(str(name), rules)
            fix = f"did you mean {prefix}{close}?" if close else f"choose from {', '.join(sorted(rules))}."
            raise ValueError(f"{prefix}{name}={value!r}: is not a setting; {fix}")
    for name, rule in rules.items():
        if name not in settings:
            raise ValueError(f"{prefix}{name}: is missing; give {prefix}{name}=..., do not remove it with ~.")
        rule(prefix + name, settings[name])


def _optional(rule: Rule) -> Rule:
    return lambda name, value: None if value is None else rule(name, value)


def _group(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}={value!r}: is a group of settings; give {name}.<setting>=<value> instead.")


def _text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}={value!r}: must be a text that is not empty; give {name}=<text>.")


def _texts(name: str, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name}={value!r}: must be a list of texts, such as {name}=[a,b].")


def _phases(name: str, value: object) -> None:
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise ValueError(f"{name}={value!r}: must be a list of phases, each once; set {name}=[train_step].")
    for phase in value:
        check_choice(name, phase, PHASES)


_AT_LEAST_0 = partial(check_whole, least=0)
_TASKS: dict[str, dict[str, Rule]] = {
    "train": {
        "epochs": check_whole,
        "steps": _optional(check_whole),
        "patience": _optional(check_whole),
        "schedule": _group,
    },
    "time": {
        "phases": _phases,
        "warmup": _AT_LEAST_0,
        "steps": check_whole,
        "rounds": check_whole,
        "single_steps": check_whole,
        "budget_seconds": partial(check_number, low=0.0, open_low=True),
    },
    "parity": {"steps": check_whole},
}
