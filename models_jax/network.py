"""The network around the layers, mirrored in models_torch/network.py: blocks, encoder, read-out, decoder."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import DTypeLike

from models_jax import masks
from models_jax.dense import Dense, Embedding
from models_jax.dtypes import as_real, check_dtypes
from models_jax.keywords import LayerKeywords
from models_jax.layer import Constants, Layer, State, under
from models_jax.norm import BatchNorm, LayerNorm
from settings.errors import SettingError
from settings.rules import check_input, check_size
from ssm.network import (
    BlockOptions,
    NetworkOptions,
)


def layer_class(model: str) -> type[Layer]:
    """The layer that ``models_jax/<model>.py`` defines for its options."""
    module = importlib.import_module(f"models_jax.{model}")
    classes = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if cls.__module__ == module.__name__]
    return next(cls for cls in classes if issubclass(cls, Layer) and not issubclass(cls, LayerKeywords))


# every other activation starts with the exact GELU
ACTIVATIONS = {"relu": jax.nn.relu, "silu": jax.nn.silu, "identity": lambda x: x}


# Under jax.checkpoint the derivative makes anew what it needs from the arguments: keeping it costs more, in time too.
@jax.checkpoint
def gelu(x: Array) -> Array:
    """x Phi(x), the exact form, as PyTorch's default."""
    return jax.nn.gelu(x, approximate=False)


@jax.checkpoint
def gated(x: Array, gate: Array) -> Array:
    return x * jax.nn.sigmoid(gate)


def larger(x: Array, y: Array) -> Array:
    """max(x, y) by selection.

    XLA's derivative of a maximum looks for the value that equals the maximum, which it may have made anew and rounded
    differently, and then loses gradient (test: pooling=max_3). Written so in both frameworks, ties are split alike too.
    """
    return jnp.where((x >= y) | jnp.isnan(x), x, y)  # a NaN is the largest


def largest(groups: Array) -> Array:
    """(B, L, k, H) -> (B, L, H), the largest of each k."""
    return functools.reduce(larger, (groups[:, :, index] for index in range(groups.shape[2])))


class Block(nnx.Module):
    """[norm] -> layer -> activation -> dropout -> [mixing, dropout] -> residual -> [norm] -> pooling.

    (B, L, d_model) -> (B, L // k, d_model), k the pooling. ``values``: by dotted name (``ssm.network.block_values``).
    With a mask (``masks``), sequences end where it does, and what stands behind changes nothing of theirs.

    Inputs of any real type are taken. They are converted to the type that dense layers compute in, which the output has
    too: ``compute_dtype``, else the parameters' own. The layer and the norms stay in the parameters'.
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
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
    ) -> None:
        check_dtypes(dtype, compute_dtype)
        self.options = options
        self.layer = layer_class(layer_options.model)(layer_options, under(values, "layer"), dtype)
        for part in options.dense_names:
            setattr(self, part, Dense(under(values, part), dtype, compute_dtype))
        for part in options.norm_names:
            norm = under(values, part)
            momentum = options.norm_momentum
            made = LayerNorm(norm, dtype) if options.norm == "layer" else BatchNorm(norm, dtype, momentum)
            setattr(self, part, made)
        self.compute_dtype = compute_dtype

    def working(self, x: Array) -> Array:
        """x in the type that dense layers compute in."""
        return as_real("x", x, self.compute_dtype or self.layer.D[...].dtype)

    # training and the dropout key are arguments here, where PyTorch keeps a mode and a generator
    def __call__(self, x: Array, training: bool = False, key: Array | None = None, mask: Array | None = None) -> Array:
        x = self.working(x)
        check_input(x.shape)
        y = self.normalised("norm_pre", x, training, mask)
        if mask is not None and self.layer.options.bidirectional:
            y = masks.silenced(y, mask)  # a causal layer does not see what follows
        y = self.mix_features(self.layer(y).astype(x.dtype), training, key)
        y = y + x if self.options.residual else y
        return self.pool(self.normalised("norm_post", y, training, mask), mask)

    def normalised(self, part: str, x: Array, training: bool, mask: Array | None = None) -> Array:
        if part not in self.options.norm_names:
            return x
        norm = getattr(self, part)
        return norm(x, training, mask) if self.options.norm == "batch" else norm(x)

    def mix_features(self, x: Array, training: bool = False, key: Array | None = None) -> Array:
        """Activation, gate, mixing and dropout: position-wise, (..., H) -> (..., H)."""
        kind = self.options.activation
        active = training and self.options.dropout > 0.0
        if active and key is None:
            raise SettingError("dropout", self.options.dropout, "training with dropout needs a key", "give key=.")
        keys = jax.random.split(key, 3) if active else (None, None, None)
        y = self.drop(ACTIVATIONS.get(kind, gelu)(x), keys[0])
        if kind == "half_glu1":
            y = self.drop(gated(y, self.gate(y)), keys[1])
        elif kind == "half_glu2":
            y = self.drop(gated(x, self.gate(y)), keys[1])
        elif kind == "full_glu":
            y = self.drop(gated(self.value(y), self.gate(y)), keys[1])
        return self.drop(self.mix(y), keys[2]) if self.options.mixing == "linear" else y

    def drop(self, x: Array, key: Array | None) -> Array:
        if key is None:
            return x
        shape = (len(x), 1, x.shape[-1]) if self.options.dropout_tied else x.shape
        kept = jax.random.bernoulli(key, 1.0 - self.options.dropout, shape)
        return jnp.where(kept, x / (1.0 - self.options.dropout), 0.0).astype(x.dtype)

    def pool(self, x: Array, mask: Array | None = None) -> Array:
        size = self.options.pool_size
        if size == 1:
            return x
        average = self.options.pool_kind == "avg"
        if mask is None:
            self.options.check_pooled(x.shape[1])
            groups = x[:, : x.shape[1] // size * size].reshape(x.shape[0], -1, size, x.shape[2])
            return groups.mean(2) if average else largest(groups)
        groups, own = masks.in_groups(x, size), masks.in_groups(mask, size)
        if average:
            return masks.mean(groups, own, 2)
        return jnp.where(own.max(2) > 0, largest(jnp.where(own > 0, groups, -jnp.inf)), 0.0)

    def discretised(self) -> Constants:
        self.options.check_stepwise()
        return self.layer.discretised()

    def step(self, x: Array, state: State, constants: Constants) -> tuple[Array, State]:
        """One step, batch norm by its running statistics: x (B, H) -> (B, H) and the state after."""
        x = self.working(x)
        y = self.normalised("norm_pre", x, False)
        y, state = self.layer.step(y, state, constants)
        y = self.mix_features(y.astype(x.dtype))
        y = y + x if self.options.residual else y
        return self.normalised("norm_post", y, False), state


class SequenceModel(nnx.Module):
    """encoder -> blocks -> read-out -> decoder.

    x (B, L, d_input), or (B, L) tokens -> (B, d_output), or (B, L', d_output) with readout="none". With documents=2,
    x has an axis of two after the batch: (B, 2, L, ...) -> (B, d_output).

    ``options``: ``ssm.network.network_options``. ``values``: initial values by dotted name (``ssm.network.initial``).

    x is of any real type (tokens: whole numbers), of JAX or NumPy. The output is of the decoder's, float32 or float64,
    also with ``compute_dtype``, in which dense layers compute (see ``Block``). A model whose state is converted
    computes in the new type; ValueError, when called, in a type that state-space layers cannot have.
    """

    encoder: Dense | Embedding
    blocks: nnx.List
    head: Dense  # of two documents
    decoder: Dense

    def __init__(
        self,
        options: NetworkOptions,
        values: Mapping[str, np.ndarray],
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
    ) -> None:
        check_dtypes(dtype, compute_dtype)
        self.options = options
        self.d_input, self.d_output, self.d_model = options.d_input, options.d_output, options.d_model
        encoder = Embedding if options.encoder == "embedding" else Dense
        self.encoder = encoder(under(values, "encoder"), dtype, compute_dtype)
        self.blocks = nnx.List(
            Block(options.block, layer, under(values, f"blocks.{index}"), dtype, compute_dtype)
            for index, layer in enumerate(options.layers)
        )
        if options.documents > 1:
            self.head = Dense(under(values, "head"), dtype, compute_dtype)
        self.decoder = Dense(under(values, "decoder"), dtype, compute_dtype)

    @property
    def dtype(self) -> DTypeLike:
        """The decoder's type, which the output has."""
        return self.decoder.weight[...].dtype

    def __call__(self, x: Array, training: bool = False, key: Array | None = None) -> Array:
        return self.read_out(self.block_outputs(x, training, key)[-1], self.own_steps(x)[-1])

    def own_steps(self, x: Array) -> list[Array | None]:
        """The mask at the encoder and behind each block; None unless the network is padded."""
        padding = self.options.padding
        own = [None if padding is None else masks.own_steps(x, padding, self.dtype)]
        for block in self.blocks:
            own.append(None if own[-1] is None else masks.pooled(own[-1], block.options.pool_size))
        return own

    def block_outputs(self, x: Array, training: bool = False, key: Array | None = None) -> list[Array]:
        """What the encoder and each block give, in order; the first axis counts documents, those of a pair in turn."""
        check_input(x.shape)
        keys = [None] * len(self.blocks) if key is None else jax.random.split(key, len(self.blocks))
        outputs = [self.encoder(x if self.options.documents == 1 else x.reshape(-1, *x.shape[2:]))]
        for block, block_key, mask in zip(self.blocks, keys, self.own_steps(x)[:-1], strict=True):
            outputs.append(block(outputs[-1], training, block_key, mask))
        return outputs

    def read_out(self, y: Array, mask: Array | None = None) -> Array:
        kind = self.options.readout
        if kind == "mean":
            y = y.mean(1) if mask is None else masks.mean(y, mask, 1)
        elif kind == "last":
            y = y[:, -1] if mask is None else masks.last(y, mask)
        elif kind == "first":
            y = y[:, 0]
        if self.options.documents > 1:
            y = self.compared(y)
        return self.decoder(y).astype(self.dtype)

    def compared(self, y: Array) -> Array:
        """The read-outs of pairs (2 B, H) -> (B, H)."""
        a, b = y[0::2], y[1::2]
        return gelu(self.head(jnp.concatenate([a, b, a - b, a * b], -1)))

    def discretised(self) -> list[Constants]:
        """What the step form needs, a block each. Raises ValueError for a bidirectional or pooling network, or for two
        documents.
        """
        self.options.check_stepwise()
        return [block.discretised() for block in self.blocks]

    def initial_state(self, batch: int) -> list[State]:
        check_size("batch", batch)
        return [block.layer.initial_state(batch) for block in self.blocks]

    def step(self, x: Array, state: list[State], constants: list[Constants]) -> tuple[Array, list[State]]:
        """One step: x (B, d_input), or (B,) tokens -> its output (B, d_output), as of readout="none", and the state."""
        y = self.encoder(x)
        after = []
        for block, block_state, block_constants in zip(self.blocks, state, constants, strict=True):
            y, block_state = block.step(y, block_state, block_constants)
            after.append(block_state)
        return self.decoder(y).astype(self.dtype), after
