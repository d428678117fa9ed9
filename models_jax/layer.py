"""What every state-space layer offers, and how a module takes its initial values."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.typing import DTypeLike

from models_jax.dtypes import as_real, check_dtypes, common_dtype
from settings.errors import SettingError
from settings.rules import check_input
from ssm.exponential import FARTHEST, LOG_HIGH, LOG_LOW, PARTS, ROOTS
from ssm.lengths import chunk_length

Constants = dict[str, Array]
State = Array | tuple[Array, Array]


def hold(module: nnx.Module, values: Mapping[str, np.ndarray], dtype: DTypeLike) -> None:
    """Registers each value as a parameter of ``module`` under its name."""
    for name, value in values.items():
        setattr(module, name, nnx.Param(jnp.asarray(value, dtype)))


def under(values: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The values whose dotted name starts with ``prefix``, that part taken off."""
    return {name[len(prefix) + 1 :]: value for name, value in values.items() if name.startswith(prefix + ".")}


def complex_of(x: Array) -> jnp.dtype:
    """The complex type of an array's precision."""
    return jnp.result_type(x.dtype, jnp.complex64)


def real_of(x: Array) -> jnp.dtype:
    """The real type of an array's precision."""
    return jnp.finfo(x.dtype).dtype


def clip(x: Array, high: float) -> Array:
    """min(x, high), NaN of NaN, whose derivative at x = high is 1, as PyTorch's clamp has it (jnp.minimum: 1/2)."""
    return jnp.where(x > high, high, x)


class Layer(nnx.Module):
    """A linear map of sequences, in two forms that agree: over a whole sequence, and one step at a time.

    ``options``: ``ssm.<model>.Options``. ``values``: initial parameters by name (``ssm.<model>.initial``), which the
    class declares. Inputs of any real type are taken, and the output is of the parameters' type: float32 or float64;
    ValueError for another one.
    """

    D: nnx.Param  # (H,), of the skip connection
    log_dt: nnx.Param  # (H,) unless the layer says otherwise

    def __init__(self, options: Any, values: Mapping[str, np.ndarray], dtype: DTypeLike = jnp.float32) -> None:
        check_dtypes(dtype)
        self.options = options
        hold(self, values, dtype)

    @property
    def dtype(self) -> jnp.dtype:
        """The parameters' type, now. ValueError where it is not one of float32 and float64."""
        held = {name: value for name, value in vars(self).items() if isinstance(value, nnx.Param)}
        return common_dtype({name: value.get_value() for name, value in held.items()})

    @property
    def complex_dtype(self) -> jnp.dtype:
        """The state's type."""
        return jnp.result_type(self.dtype, jnp.complex64)

    def __call__(self, u: Array) -> Array:
        """u (B, L, H) -> y (B, L, H), any length L, by the algorithm that the options choose."""
        u = as_real("u", u, self.dtype)
        check_input(u.shape)
        return self.recurrent(u) if self.options.chosen == "recurrent" else self.over_sequence(u)

    @abstractmethod
    def over_sequence(self, u: Array) -> Array:
        """The forward pass by any algorithm but the step form; u in the parameters' type."""

    def recurrent(self, u: Array) -> Array:
        """The forward pass by the step form; for the derivative, the steps of a chunk are taken anew."""
        constants = self.discretised()
        size = chunk_length(u.shape[1])
        chunks = -(-u.shape[1] // size)
        padded = jnp.pad(u, ((0, 0), (0, chunks * size - u.shape[1]), (0, 0)))

        def step(state: State, u: Array) -> tuple[State, Array]:
            y, state = self.one_step(u, state, constants)
            return state, y

        @jax.checkpoint
        def steps(state: State, u: Array) -> tuple[State, Array]:
            return lax.scan(step, state, u)

        inputs = padded.swapaxes(0, 1).reshape(chunks, size, *u[:, 0].shape)
        _, outputs = lax.scan(steps, self.initial_state(len(u)), inputs)
        return outputs.reshape(-1, *u[:, 0].shape).swapaxes(0, 1)[:, : u.shape[1]]

    def discretised(self) -> Constants:
        """What the step form needs, computed once. Raises ValueError for a bidirectional layer."""
        if self.options.bidirectional:
            raise SettingError(
                "bidirectional", True, "a step at a time sees no future", "build the layer with bidirectional=False."
            )
        check_dtypes(self.dtype)
        return self.step_form()

    @abstractmethod
    def step_form(self) -> Constants:
        """``discretised`` of a causal layer."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The zero state of ``batch`` sequences, complex (with a count of steps where a layer needs one)."""

    def step(self, u: Array, state: State, constants: Constants) -> tuple[Array, State]:
        """One step: u (B, H) and the state before -> y (B, H) and the state after.

        ValueError where constants or state are of another precision than the parameters are now.
        """
        dtype = self.dtype
        for made in (*constants.values(), *(state if isinstance(state, tuple) else (state,))):
            if real_of(made) != dtype:
                raise ValueError(
                    f"constants or state of {made.dtype}: the parameters are {dtype} by now; call discretised() and "
                    "initial_state() again after converting the layer."
                )
        return self.one_step(as_real("u", u, dtype), state, constants)

    @abstractmethod
    def one_step(self, u: Array, state: State, constants: Constants) -> tuple[Array, State]:
        """``step``, all in the parameters' type."""


def step_sizes(log_dt: Array) -> Array:
    """exp(log_dt), the nearest number but for one in seventy; NaN of NaN.

    The frameworks' own float32 exponentials differ in the last bit for one in ten, which a phase Im(lambda) dt of a
    hundred makes 1e-4 of log_dt's gradient. How: ``ssm.exponential``.
    """
    count = jnp.round((lax.stop_gradient(log_dt) * (PARTS / math.log(2.0))).clip(-FARTHEST, FARTHEST))
    rest = (log_dt - count * LOG_HIGH) - count * LOG_LOW
    count = jnp.nan_to_num(count)  # an index; the rest keeps the NaN
    whole = jnp.floor(count / PARTS)
    roots = jnp.asarray(ROOTS[log_dt.dtype.itemsize], log_dt.dtype)
    high, low = roots[:, (count - whole * PARTS).astype(jnp.int32)]
    return jnp.ldexp(high + (low + high * jnp.expm1(rest)), whole.astype(jnp.int32))
