"""What a network is built of: the model's settings and what the data asks. The parent checks it, the worker builds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from settings.errors import SettingError
from settings.problem import Problem
from ssm.network import NetworkOptions, network_options


def problem_at(length: int | None, problem: Problem) -> Problem:
    """The problem with sequences of task.length (None: its own). SettingError where the data cannot have it."""
    if length is not None and problem.padding is not None and length > problem.length:
        rule = (
            f"the data has sequences of up to {problem.length} tokens, and repeated ones would hold padding in between"
        )
        fix = f"set task.length={problem.length} or less, or make the data longer where it has a dataset.length."
        raise SettingError("task.length", length, rule, fix)
    return problem.at(length or problem.length)


def model_options(model: Mapping[str, Any], problem: Problem) -> NetworkOptions:
    """The network's options for a problem. SettingError where they do not go together."""
    arguments = network_arguments(model, problem)
    try:
        return network_options(**arguments)
    except SettingError as error:
        raise (error.within("model") if error.name in model else error) from error


def network_arguments(model: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """Of ssm.network.network_options. SettingError where model and problem do not go together.

    encoder=auto is what the inputs need, readout=auto what the targets need.
    """
    fitting = "embedding" if problem.tokens else "linear"
    encoder = fitting if model["encoder"] == "auto" else model["encoder"]
    if encoder in ("linear", "embedding") and encoder != fitting:
        kind = "tokens" if problem.tokens else "real numbers"
        raise SettingError("model.encoder", encoder, f"the data holds {kind}", "set model.encoder=auto.")
    of_steps = "none" if problem.per_step else "mean"
    readout = of_steps if model["readout"] == "auto" else model["readout"]
    if (readout == "none") != problem.per_step:
        rule = "the data has a target for each step" if problem.per_step else "the data has one target a sequence"
        raise SettingError("model.readout", readout, rule, "set model.readout=auto.")
    of_data = {"padding": problem.padding, "documents": problem.documents}
    for name in of_data.keys() & model.keys():
        raise SettingError(f"model.{name}", model[name], "is the data set's to say, not the model's", "leave it out.")
    settings = {**model, **of_data, "encoder": encoder, "readout": readout}
    sizes = {"d_input": problem.features, "d_output": problem.classes, "l_max": problem.length}
    return {"name": model["name"], **sizes, "settings": settings}
