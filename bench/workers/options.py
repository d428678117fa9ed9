"""What a network is built of, from the model's settings and what the data asks; the parent checks it, the worker
builds.

Legend as everywhere: ValueError with the setting's name, the value, the rule and the fix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets.data import Description
from datasets.reasons import said
from ssm.network import NetworkOptions, network_options


def length_of(length: int | None, description: Description) -> int:
    """Of the sequences as they are used, with task.length; ValueError where the data cannot have it."""
    length = length or description.length
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
        raise ValueError(f"model.{said(error)}" if name in model else str(error)) from error
