"""What every state-space layer offers, and how a module takes its initial values."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.typing import DTypeLike

from ssm.checks import check_input, generator, split_settings
from ssm.exponential import LOG_HIGH, LOG_LOW, PARTS, ROOTS
from ssm.lengths import chunk_length
from ssm.network import mathematics

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


def clip(x: Array, high: float) -> Array:
    """min(x, high), whose derivative at x = high is 1, as PyTorch's clamp has it (jnp.minimum: 1/2)."""
    return jnp.where(x <= high, x, high)


class Layer(nnx.Module):
    """A linear map of sequences, in two forms that agree: over a whole sequence, and one step at a time.

    Settings, checked: ``ssm.<name>.Options``. ``values`` are initial parameters by name (``ssm.<name>.initial``), drawn
    from ``seed`` when absent.
    """

    name: ClassVar[str]

    def __init__(
        self,
        d_model: int,
        n: int = 64,
        l_max: int = 784,
        *,
        seed: int = 0,
        values: Mapping[str, np.ndarray] | None = None,
        dtype: DTypeLike = jnp.float32,
        **options,  # the other fields of Options, declared once in ssm/ for both frameworks
    ) -> None:
        module = mathematics(self.name)
        (settings,) = split_settings(options, module.Options)
        self.options = module.Options(d_model, n, l_max, **settings)
        hold(self, module.initial(self.options, generator(seed)) if values is None else values, dtype)

    def __call__(self, u: Array) -> Array:
        """u (B, L, H) -> y (B, L, H), any length L, by the algorithm that the options choose."""
        check_input(u.shape)
        return self.recurrent(u) if self.options.chosen == "recurrent" else self.over_sequence(u)

    @abstractmethod
    def over_sequence(self, u: Array) -> Array:
        """The forward pass by any algorithm but the step form."""

    def recurrent(self, u: Array) -> Array:
        """The forward pass by the step form; for the derivative, the steps of a chunk are taken anew."""
        constants = self.discretised()
        size = chunk_length(u.shape[1])
        chunks = -(-u.shape[1] // size)
        padded = jnp.pad(u, ((0, 0), (0, chunks * size - u.shape[1]), (0, 0)))

        def step(state: State, u: Array) -> tuple[State, Array]:
            y, state = self.step(u, state, constants)
            return state, y

        @jax.checkpoint
        def steps(state: State, u: Array) -> tuple[State, Array]:
            return lax.scan(step, state, u)

        inputs = padded.swapaxes(0, 1).reshape(chunks, size, *u[:, 0].shape)
        _, outputs = lax.scan(steps, self.initial_state(len(u)), inputs)
        return outputs.reshape(-1, *u[:, 0].shape).swapaxes(0, 1)[:, : u.shape[1]]

    @abstractmethod
    def discretised(self) -> Constants:
        """What the step form needs, computed once. Raises ValueError for a bidirectional layer."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The zero state of ``batch`` sequences, complex (with a count of steps where a layer needs one)."""

    @abstractmethod
    def step(self, u: Array, state: State, constants: Constants) -> tuple[Array, State]:
        """One step: u (B, H) and the state before -> y (B, H) and the state after."""


def step_sizes(log_dt: Array) -> Array:
    """exp(log_dt), the nearest number but for one in seventy.

    The frameworks' own float32 exponentials differ in the last bit for one in ten, which a phase Im(lambda) dt of a
    hundred makes 1e-4 of log_dt's gradient. How: ``ssm.exponential``.
    """
    count = jnp.round(lax.stop_gradient(log_dt) * (PARTS / math.log(2.0)))
    rest = (log_dt - count * LOG_HIGH) - count * LOG_LOW
    whole = jnp.floor(count / PARTS)
    roots = jnp.asarray(ROOTS[log_dt.dtype.itemsize], log_dt.dtype)
    high, low = roots[:, (count - whole * PARTS).astype(jnp.int32)]
    return jnp.ldexp(high + (low + high * jnp.expm1(rest)), whole.astype(jnp.int32))


def refuse_bidirectional(bidirectional: bool) -> None:
    if bidirectional:
        raise ValueError(
            "bidirectional=True: a step at a time sees no future; build the layer with bidirectional=False."
        )
