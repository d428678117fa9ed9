"""Linear maps of the features, and the table that tokens are looked up in."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import DTypeLike

from models_jax.layer import hold

# On a CPU the gradient of a weight with one input, a product over all rows, is one long sum in float32: of 262,144 rows
# 1e-5 is lost, and more where they nearly cancel. Products of pieces of rows, then added, lose a tenth of it.
FEW = 8  # inputs
PIECE = 2048  # rows of one product


@jax.custom_vjp
def few_inputs(x: Array, weight: Array) -> Array:
    """x W^T: x (R, I), weight (O, I) -> (R, O)."""
    return x @ weight.T


def _keep(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return few_inputs(x, weight), (x, weight)


def _derivative(residuals: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, weight = residuals
    whole = len(x) // PIECE * PIECE
    pieces = (t[:whole].reshape(-1, PIECE, t.shape[-1]) for t in (grad, x))
    return grad @ weight, jnp.einsum("nro,nri->noi", *pieces).sum(0) + grad[whole:].T @ x[whole:]


few_inputs.defvjp(_keep, _derivative)


def linear(x: Array, weight: Array) -> Array:
    """x W^T over the last axis: x (..., I), weight (O, I) -> (..., O)."""
    # One axis of rows: XLA's product over two of them, the weight's gradient, is up to three times as slow.
    rows = x.reshape(-1, x.shape[-1])
    few = x.shape[-1] <= FEW and jax.default_backend() == "cpu"
    return (few_inputs(rows, weight) if few else rows @ weight.T).reshape(*x.shape[:-1], -1)


class Dense(nnx.Module):
    """x W^T + b over the last axis, in ``compute_dtype``."""

    def __init__(self, values: Mapping[str, np.ndarray], dtype: DTypeLike, compute_dtype: DTypeLike) -> None:
        hold(self, values, dtype)
        self.compute_dtype = compute_dtype

    def __call__(self, x: Array) -> Array:
        x, weight, bias = (t.astype(self.compute_dtype) for t in (x, self.weight[...], self.bias[...]))
        return linear(x, weight) + bias


class Embedding(nnx.Module):
    """Rows of a table by whole-number tokens: (B, L) -> (B, L, H)."""

    def __init__(self, values: Mapping[str, np.ndarray], dtype: DTypeLike, compute_dtype: DTypeLike) -> None:
        hold(self, values, dtype)
        self.compute_dtype = compute_dtype

    def __call__(self, x: Array) -> Array:
        return jnp.take(self.weight[...], x, 0).astype(self.compute_dtype)
