"""The network around the layers: its options, initial parameters and analytic counts. No framework, float64.

encoder -> n_blocks x [norm, layer, activation, mixing, dropout, residual, norm, pooling] -> read-out -> decoder

Two documents a target (a, b): the network encodes each, and a head compares their read-outs before the decoder,
W [a, b, a - b, a * b] with a GELU after it (the head for retrieval of Gu et al. 2022, arXiv 2111.00396, and of S5).
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import numpy as np

from settings.errors import SettingError
from settings.rules import (
    check_choice,
    check_flag,
    check_number,
    check_seed,
    check_size,
    check_whole,
    nearest,
    python_fields,
    python_scalar,
)

ENCODERS = ("linear", "embedding")
READOUTS = ("mean", "last", "first", "none")
NORMS = ("layer", "batch", "none")
NORM_POSITIONS = ("post", "pre", "both")
ACTIVATIONS = ("gelu", "relu", "silu", "identity", "half_glu1", "half_glu2", "full_glu")
MIXINGS = ("linear", "none")
MOST_BLOCKS = 10_000
HEAD_STREAM = 2**32 - 1  # of random numbers; no network has that many blocks


@dataclass(frozen=True)
class BlockOptions:
    """Settings of a block; refused with a ValueError when they make no sense.

    norm before the layer (pre), after the residual (post) or both; norm_momentum: the share of batch norm's running
    statistics that is kept a step. activation: with the names of S5, half_glu1 is g * sigmoid(G g) with g = gelu(x),
    half_glu2 x * sigmoid(G g), full_glu (V g) * sigmoid(G g). mixing: a position-wise linear map after the activation.
    dropout_tied: one mask for all steps of a sequence. pooling: none, avg_k or max_k over k steps after the block.
    """

    norm: str = "layer"
    norm_position: str = "post"
    norm_momentum: float = 0.95
    activation: str = "gelu"
    mixing: str = "linear"
    dropout: float = 0.0
    dropout_tied: bool = False
    residual: bool = True
    pooling: str = "none"

    def __post_init__(self) -> None:
        python_fields(self)
        check_choice("norm", self.norm, NORMS)
        check_choice("norm_position", self.norm_position, NORM_POSITIONS)
        check_number("norm_momentum", self.norm_momentum, 0.0, 1.0, open_high=True)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("mixing", self.mixing, MIXINGS)
        check_number("dropout", self.dropout, 0.0, 1.0, open_high=True)
        check_flag("dropout_tied", self.dropout_tied)
        check_flag("residual", self.residual)
        if self.pooling != "none" and not re.fullmatch(r"(avg|max)_[1-9][0-9]*", str(self.pooling)):
            raise SettingError(
                "pooling", self.pooling, "must be none, avg_k or max_k with k steps", "set pooling=avg_2, for instance."
            )

    @property
    def pool_kind(self) -> str:
        return str(self.pooling).partition("_")[0]

    @property
    def pool_size(self) -> int:
        return 1 if self.pooling == "none" else int(self.pooling.partition("_")[2])

    @property
    def norm_names(self) -> tuple[str, ...]:
        """Which of norm_pre, norm_post a block has."""
        if self.norm == "none":
            return ()
        return ("norm_pre", "norm_post") if self.norm_position == "both" else (f"norm_{self.norm_position}",)

    def check_pooled(self, length: int) -> None:
        """Refuses a sequence that has not one group of the steps that are pooled."""
        if length < self.pool_size:
            rule = f"the block gets {length} steps, fewer than it pools"
            raise SettingError("pooling", self.pooling, rule, "give a longer sequence.")

    def check_stepwise(self) -> None:
        """Refuses pooling, which needs several steps at once."""
        if self.pool_size > 1:
            raise SettingError(
                "pooling", self.pooling, "a step at a time needs blocks that keep every step", "set pooling=none."
            )

    @property
    def dense_names(self) -> tuple[str, ...]:
        """Which of value, gate, mix (the position-wise linear maps) a block has."""
        names = {"full_glu": ("value", "gate"), "half_glu1": ("gate",), "half_glu2": ("gate",)}.get(self.activation, ())
        return (*names, "mix") if self.mixing == "linear" else names


@dataclass(frozen=True)
class NetworkOptions:
    """A whole network: ``name`` is the model (ssm.<name>), ``layers`` the options of each block's layer.

    padding: the token that fills an array behind a sequence's end and counts for nothing; None where all of it counts.
    documents: sequences for one target, 1 or 2.
    """

    name: str
    d_input: int
    d_output: int
    d_model: int
    l_max: int
    encoder: str
    readout: str
    block: BlockOptions
    layers: tuple[Any, ...]
    padding: int | None = None
    documents: int = 1

    @property
    def lengths(self) -> tuple[int, ...]:
        """Length at each block's input."""
        return tuple(layer.l_max for layer in self.layers)

    def check_stepwise(self) -> None:
        """Refuses two documents: the second one is not a continuation of the first."""
        if self.documents > 1:
            raise SettingError(
                "documents",
                self.documents,
                "a step at a time reads one sequence, and this network compares two",
                "call it with whole sequences.",
            )


def mathematics(name: str) -> ModuleType:
    """The module ssm.<name>: Options, initial, recurrence, SSM_NAMES."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or importlib.util.find_spec(f"ssm.{name}") is None:
        raise SettingError(
            "model", name, f"there is no ssm/{name}.py", "use a model that has one, such as s4, dss or s5."
        )
    return importlib.import_module(f"ssm.{name}")


def network_options(name: str, d_input: int, d_output: int, l_max: int, settings: Mapping[str, Any]) -> NetworkOptions:
    """Checks a model's flat settings (d_model, n_blocks, encoder, readout, padding, documents, block and layer
    settings) and sorts them.

    d_input: input features, or the vocabulary's size with encoder=embedding. l_max: the length it is built for.
    ``collapse``, where given, stands for readout="mean" (true) or "none" (false).
    Raises ValueError for an unknown setting, a bad value or a senseless combination.
    """
    layer_class = mathematics(name).Options
    d_input, d_output, l_max = map(python_scalar, (d_input, d_output, l_max))
    settings = {
        key: python_scalar(value) for key, value in settings.items() if not (key == "collapse" and value is None)
    }
    if "collapse" in settings:
        check_flag("collapse", settings["collapse"])
        if "readout" in settings:
            raise SettingError(
                "collapse",
                settings["collapse"],
                f"stands for a readout, and readout={settings['readout']!r} is given",
                "give only one of them.",
            )
        settings["readout"] = "mean" if settings.pop("collapse") else "none"
    own: dict[str, Any] = {"d_model": 64, "n_blocks": 2, "encoder": "linear", "readout": "mean"}
    own |= {"padding": None, "documents": 1}
    rest = {key: value for key, value in settings.items() if key not in (*own, "name")}
    own.update({key: settings[key] for key in own if key in settings})
    block_settings, layer_settings = _dealt(rest, BlockOptions, layer_class, also=own)
    for key, value in (
        ("d_input", d_input),
        ("d_output", d_output),
        ("l_max", l_max),
    ):
        check_size(key, value)
    check_whole("n_blocks", own["n_blocks"], most=MOST_BLOCKS)
    check_choice("encoder", own["encoder"], ENCODERS)
    check_choice("readout", own["readout"], READOUTS)
    _check_kind(own | {"d_input": d_input})
    block = BlockOptions(**block_settings)
    layers, length, count = [], l_max, int(own["n_blocks"])
    for index in range(count):
        layers.append(layer_class(**{**layer_settings, "d_model": own["d_model"], "l_max": length}))
        if length < block.pool_size:
            raise SettingError(
                "pooling",
                block.pooling,
                f"block {index + 1} of {count} gets {length} steps, fewer than it pools",
                f"lower the pooling or n_blocks, or use sequences of at least {block.pool_size**count} steps.",
            )
        length = pooled_length(length, block.pool_size, own["padding"] is not None)
    return NetworkOptions(
        name,
        d_input,
        d_output,
        int(own["d_model"]),
        l_max,
        str(own["encoder"]),
        str(own["readout"]),
        block,
        tuple(layers),
        own["padding"],
        own["documents"],
    )


def _check_kind(own: Mapping[str, Any]) -> None:
    """Refuses what does not go with padding or with two documents."""
    padding = own["padding"]
    if padding is not None and own["encoder"] != "embedding":
        rule = f"the end of a sequence shows in its tokens, and encoder={own['encoder']} takes real numbers"
        raise SettingError("padding", padding, rule, "set encoder=embedding, or padding=None.")
    if padding is not None:
        check_whole("padding", padding, least=0, most=own["d_input"] - 1)
    check_whole("documents", own["documents"])
    if own["documents"] > 2:
        raise SettingError("documents", own["documents"], "must be 1, or 2 that are compared", "set documents=2.")
    if own["documents"] == 2 and own["readout"] == "none":
        raise SettingError(
            "documents",
            2,
            "the read-outs of two documents are compared, and readout=none gives one for each step",
            "set readout=mean (or last, first).",
        )


def layer_options(model: str, settings: Mapping[str, Any]) -> Any:
    """Checks a layer's flat settings, sizes included -> ssm.<model>.Options."""
    options = mathematics(model).Options
    (own,) = _dealt(settings, options)
    return options(**own)


def block_options(model: str, settings: Mapping[str, Any]) -> tuple[BlockOptions, Any]:
    """Checks a block's flat settings, its layer's and the sizes included -> its options and its layer's."""
    options = mathematics(model).Options
    own, of_layer = _dealt(settings, BlockOptions, options)
    return BlockOptions(**own), options(**of_layer)


def _dealt(settings: Mapping[str, Any], *classes: type, also: Collection[str] = ()) -> list[dict[str, Any]]:
    """Deals ``settings`` out to dataclasses by field name, in the order of ``classes``.

    SettingError for a setting that no class (nor ``also``) knows, naming the closest one that exists.
    """
    names = [[field.name for field in fields(cls)] for cls in classes]
    known = {name for group in names for name in group} | set(also)
    for name, value in settings.items():
        if name not in known:
            close = nearest(name, sorted(known))
            fix = f"did you mean {close}?" if close else "leave it out."
            rule = f"is not a setting of this model ({', '.join(sorted(known))})"
            raise SettingError(name, value, rule, fix)
    return [{name: settings[name] for name in group if name in settings} for group in names]


def pooled_length(length: int, size: int, padded: bool) -> int:
    """Groups of ``size`` steps in ``length``: a rest is dropped, but is a group in a padded network.

    There, what counts must not depend on where the padding ends.
    """
    return -(-length // size) if padded else length // size


def dense_values(rng: np.random.Generator, d_in: int, d_out: int) -> dict[str, np.ndarray]:
    """weight (d_out, d_in) and bias (d_out,), uniform within 1 / sqrt(d_in)."""
    bound = d_in**-0.5
    return {"weight": rng.uniform(-bound, bound, (d_out, d_in)), "bias": rng.uniform(-bound, bound, d_out)}


def block_values(block: BlockOptions, layer: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Initial parameters of one block by dotted name; batch norm's running statistics are among them."""
    h = layer.d_model
    values = {f"layer.{key}": value for key, value in mathematics(layer.model).initial(layer, rng).items()}
    for name in block.dense_names:
        values |= {f"{name}.{key}": value for key, value in dense_values(rng, h, h).items()}
    for name in block.norm_names:
        values |= {f"{name}.weight": np.ones(h), f"{name}.bias": np.zeros(h)}
        if block.norm == "batch":
            values |= {f"{name}.running_mean": np.zeros(h), f"{name}.running_var": np.ones(h)}
    return values


def initial(options: NetworkOptions, seed: int) -> dict[str, np.ndarray]:
    """Every initial value of the network by dotted name, float64; the same seed gives the same values everywhere."""
    seed = python_scalar(seed)
    check_seed("seed", seed)

    def stream(part: int) -> np.random.Generator:
        return np.random.default_rng([seed, part])

    h = options.d_model
    if options.encoder == "embedding":
        values = {"encoder.weight": stream(0).standard_normal((options.d_input, h))}
    else:
        values = {f"encoder.{key}": value for key, value in dense_values(stream(0), options.d_input, h).items()}
    for index, layer in enumerate(options.layers):
        drawn = block_values(options.block, layer, stream(2 + index))
        values |= {f"blocks.{index}.{key}": value for key, value in drawn.items()}
    if options.documents > 1:
        head = dense_values(stream(HEAD_STREAM), 4 * h, h)
        values |= {f"head.{key}": value for key, value in head.items()}
    return values | {f"decoder.{key}": value for key, value in dense_values(stream(1), h, options.d_output).items()}


def least_bytes(options: NetworkOptions) -> int:
    """Fewer than the initial values take: the dense maps and a value for each feature and state, in float64."""
    h = options.d_model
    blocks = len(options.layers) * h * (h * len(options.block.dense_names) + options.layers[0].n)
    return 8 * (h * (options.d_input + options.d_output) + blocks)


def ssm_parameter_names(options: NetworkOptions) -> frozenset[str]:
    """Dotted names of the parameters trained at the SSM rate without weight decay."""
    own = mathematics(options.name).SSM_NAMES
    return frozenset(f"blocks.{index}.layer.{name}" for index in range(len(options.layers)) for name in own)


def statistic_names(options: NetworkOptions) -> frozenset[str]:
    """Dotted names of batch norm's running statistics, which are values but not parameters."""
    if options.block.norm != "batch":
        return frozenset()
    return frozenset(
        f"blocks.{index}.{norm}.{statistic}"
        for index in range(len(options.layers))
        for norm in options.block.norm_names
        for statistic in ("running_mean", "running_var")
    )
