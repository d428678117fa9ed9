"""The network around the layers, mirrored in models_jax/network.py: blocks, encoder, read-out, decoder."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models_torch import masks
from models_torch.dense import Dense, Embedding
from models_torch.dtypes import as_real, check_dtypes, working_dtype
from models_torch.keywords import LayerKeywords
from models_torch.layer import Constants, Layer, State, under
from models_torch.norm import BatchNorm, LayerNorm
from settings.rules import check_input, check_size
from ssm.network import (
    BlockOptions,
    NetworkOptions,
)


def layer_class(model: str) -> type[Layer]:
    """The layer that ``models_torch/<model>.py`` defines for its options."""
    module = importlib.import_module(f"models_torch.{model}")
    classes = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if cls.__module__ == module.__name__]
    return next(cls for cls in classes if issubclass(cls, Layer) and not issubclass(cls, LayerKeywords))


# every other activation starts with the exact GELU
ACTIVATIONS = {"relu": F.relu, "silu": F.silu, "identity": lambda x: x}


def larger(x: Tensor, y: Tensor) -> Tensor:
    """max(x, y) by selection.

    XLA's derivative of a maximum looks for the value that equals the maximum, which it may have made anew and rounded
    differently, and then loses gradient (test: pooling=max_3). Written so in both frameworks, ties are split alike too.
    """
    return torch.where((x >= y) | x.isnan(), x, y)  # a NaN is the largest


def largest(groups: Tensor) -> Tensor:
    """(B, L, k, H) -> (B, L, H), the largest of each k."""
    return functools.reduce(larger, (groups[:, :, index] for index in range(groups.shape[2])))


class Block(nn.Module):
    """[norm] -> layer -> activation -> dropout -> [mixing, dropout] -> residual -> [norm] -> pooling.

    (B, L, d_model) -> (B, L // k, d_model), k the pooling. ``values``: by dotted name (``ssm.network.block_values``).
    With a mask (``masks``), sequences end where it does, and what stands behind changes nothing of theirs.

    Inputs of any real type are taken. They are converted to the type that dense layers compute in, which the output has
    too: autocast's, else ``compute_dtype``, else the parameters' own. The layer and the norms stay in the parameters'.
    """

    layer: Layer
    gate: Dense  # of half_glu1, half_glu2, full_glu
    value: Dense  # of full_glu
    mix: Dense  # of mixing=linear
    norm_pre: LayerNorm | BatchNorm
    norm_post: LayerNorm | BatchNorm

    def __init__(
        self,
        options: BlockOptions,
        layer_options: Any,
        values: Mapping[str, np.ndarray],
        dtype: torch.dtype = torch.float32,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dtypes(dtype, compute_dtype)
        self.options = options
        self.layer = layer_class(layer_options.model)(layer_options, under(values, "layer"), dtype)
        for part in options.dense_names:
            self.add_module(part, Dense(under(values, part), dtype, compute_dtype))
        for part in options.norm_names:
            norm = under(values, part)
            momentum = options.norm_momentum
            made = LayerNorm(norm, dtype) if options.norm == "layer" else BatchNorm(norm, dtype, momentum)
            self.add_module(part, made)
        self.compute_dtype = compute_dtype

    def working(self, x: Tensor) -> Tensor:
        """x in the type that dense layers compute in."""
        return as_real("x", x, working_dtype(self.layer.D, self.compute_dtype))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.working(x)
        check_input(x.shape)
        y = self.normalised("norm_pre", x, mask)
        if mask is not None and self.layer.options.bidirectional:
            y = masks.silenced(y, mask)  # a causal layer does not see what follows
        y = self.mix_features(self.layer(y).to(x.dtype))
        y = y + x if self.options.residual else y
        return self.pool(self.normalised("norm_post", y, mask), mask)

    def normalised(self, part: str, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if part not in self.options.norm_names:
            return x
        norm = getattr(self, part)
        return norm(x, mask) if self.options.norm == "batch" else norm(x)

    def mix_features(self, x: Tensor) -> Tensor:
        """Activation, gate, mixing and dropout: position-wise, (..., H) -> (..., H)."""
        kind = self.options.activation
        y = self.drop(ACTIVATIONS.get(kind, F.gelu)(x))
        if kind == "half_glu1":
            y = self.drop(y * self.gate(y).sigmoid())
        elif kind == "half_glu2":
            y = self.drop(x * self.gate(y).sigmoid())
        elif kind == "full_glu":
            y = self.drop(self.value(y) * self.gate(y).sigmoid())
        return self.drop(self.mix(y)) if self.options.mixing == "linear" else y

    def drop(self, x: Tensor) -> Tensor:
        if not self.options.dropout_tied:
            return F.dropout(x, self.options.dropout, self.training)
        return x * F.dropout(x.new_ones(len(x), 1, x.shape[-1]), self.options.dropout, self.training)

    def pool(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        size = self.options.pool_size
        if size == 1:
            return x
        average = self.options.pool_kind == "avg"
        if mask is None:
            self.options.check_pooled(x.shape[1])
            groups = x[:, : x.shape[1] // size * size].unflatten(1, (-1, size))
            return groups.mean(2) if average else largest(groups)
        groups, own = masks.in_groups(x, size), masks.in_groups(mask, size)
        if average:
            return masks.mean(groups, own, 2)
        return torch.where(own.amax(2) > 0, largest(torch.where(own > 0, groups, -torch.inf)), 0.0)

    def discretised(self) -> Constants:
        self.options.check_stepwise()
        return self.layer.discretised()

    def step(self, x: Tensor, state: State, constants: Constants) -> tuple[Tensor, State]:
        """One step, batch norm by its running statistics when in evaluation: x (B, H) -> (B, H) and the state after."""
        x = self.working(x)
        y = self.normalised("norm_pre", x)
        y, state = self.layer.step(y, state, constants)
        y = self.mix_features(y.to(x.dtype))
        y = y + x if self.options.residual else y
        return self.normalised("norm_post", y), state


class SequenceModel(nn.Module):
    """encoder -> blocks -> read-out -> decoder.

    x (B, L, d_input), or (B, L) tokens -> (B, d_output), or (B, L', d_output) with readout="none". With documents=2,
    x has an axis of two after the batch: (B, 2, L, ...) -> (B, d_output).

    ``options``: ``ssm.network.network_options``. ``values``: initial values by dotted name (``ssm.network.initial``).

    x is of any real type (tokens: whole numbers). The output is of the decoder's, float32 or float64, also under
    autocast and with ``compute_dtype``, in which dense layers compute (see ``Block``). Converting the model converts
    all of it; ValueError, when called, in a type that state-space layers cannot have.
    """

    encoder: Dense | Embedding
    blocks: nn.ModuleList
    head: Dense  # of two documents
    decoder: Dense

    def __init__(
        self,
        options: NetworkOptions,
        values: Mapping[str, np.ndarray],
        dtype: torch.dtype = torch.float32,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dtypes(dtype, compute_dtype)
        self.options = options
        self.d_input, self.d_output, self.d_model = options.d_input, options.d_output, options.d_model
        encoder = Embedding if options.encoder == "embedding" else Dense
        self.encoder = encoder(under(values, "encoder"), dtype, compute_dtype)
        self.blocks = nn.ModuleList(
            Block(options.block, layer, under(values, f"blocks.{index}"), dtype, compute_dtype)
            for index, layer in enumerate(options.layers)
        )
        if options.documents > 1:
            self.head = Dense(under(values, "head"), dtype, compute_dtype)
        self.decoder = Dense(under(values, "decoder"), dtype, compute_dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The decoder's type, which the output has."""
        return self.decoder.weight.dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.read_out(self.block_outputs(x)[-1], self.own_steps(x)[-1])

    def own_steps(self, x: Tensor) -> list[Tensor | None]:
        """The mask at the encoder and behind each block; None unless the network is padded."""
        padding = self.options.padding
        own = [None if padding is None else masks.own_steps(x, padding, self.dtype)]
        for block in self.blocks:
            own.append(None if own[-1] is None else masks.pooled(own[-1], block.options.pool_size))
        return own

    def block_outputs(self, x: Tensor) -> list[Tensor]:
        """What the encoder and each block give, in order; the first axis counts documents, those of a pair in turn."""
        check_input(x.shape)
        outputs = [self.encoder(x if self.options.documents == 1 else x.flatten(0, 1))]
        for block, mask in zip(self.blocks, self.own_steps(x)[:-1], strict=True):
            outputs.append(block(outputs[-1], mask))
        return outputs

    def read_out(self, y: Tensor, mask: Tensor | None = None) -> Tensor:
        kind = self.options.readout
        if kind == "mean":
            y = y.mean(1) if mask is None else masks.mean(y, mask, 1)
        elif kind == "last":
            y = y[:, -1] if mask is None else masks.last(y, mask)
        elif kind == "first":
            y = y[:, 0]
        if self.options.documents > 1:
            y = self.compared(y)
        return self.decoder(y).to(self.dtype)

    def compared(self, y: Tensor) -> Tensor:
        """The read-outs of pairs (2 B, H) -> (B, H)."""
        a, b = y[0::2], y[1::2]
        return F.gelu(self.head(torch.cat([a, b, a - b, a * b], -1)))

    def discretised(self) -> list[Constants]:
        """What the step form needs, a block each. Raises ValueError for a bidirectional or pooling network, or for two
        documents.
        """
        self.options.check_stepwise()
        return [block.discretised() for block in self.blocks]

    def initial_state(self, batch: int) -> list[State]:
        check_size("batch", batch)
        return [block.layer.initial_state(batch) for block in self.blocks]

    def step(self, x: Tensor, state: list[Tensor], constants: list[Constants]) -> tuple[Tensor, list[Tensor]]:
        """One step: x (B, d_input), or (B,) tokens -> its output (B, d_output), as of readout="none", and the state."""
        y = self.encoder(x)
        after = []
        for block, block_state, block_constants in zip(self.blocks, state, constants, strict=True):
            y, block_state = block.step(y, block_state, block_constants)
            after.append(block_state)
        return self.decoder(y).to(self.dtype), after
