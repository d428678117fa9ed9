"""Plain diagonal states with real decays, as a convolution."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from models_jax.conv import convolve
from models_jax.layer import Constants, Layer, step_sizes


class Decay(Layer):
    """H banks of N real states."""

    Lambda: nnx.Param  # (N,), its logarithm
    C: nnx.Param  # (H, N)

    def rates(self) -> Array:
        return step_sizes(self.log_dt[...])[:, None] * jnp.exp(self.Lambda[...])

    def over_sequence(self, u: Array) -> Array:
        steps = jnp.arange(u.shape[1], dtype=u.dtype)
        kernel = (self.C[..., None] * jnp.exp(-self.rates()[..., None] * steps)).sum(1)
        return convolve(u, kernel[None], self.D[...])

    def step_form(self) -> Constants:
        return {"decay": jnp.exp(-self.rates()), "output": self.C[...], "skip": self.D[...]}

    def initial_state(self, batch: int) -> Array:
        return jnp.zeros((batch, *self.C.shape), self.dtype)

    def one_step(self, u: Array, state: Array, constants: Constants) -> tuple[Array, Array]:
        state = constants["decay"] * state + u[..., None]
        return (constants["output"] * state).sum(-1) + constants["skip"] * u, state
