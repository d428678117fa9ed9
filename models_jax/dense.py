"""Linear maps of the features, and the table that tokens are looked up in."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.typing import DTypeLike

from models_jax.dtypes import PARAMETERS, as_real, as_tokens, check_dtypes
from models_jax.layer import hold
from models_jax.operators import operator

# On a CPU the weight's gradient, a product over all rows, is one long sum in float32: of 262,144 rows that nearly
# cancel 1e-4 is lost. Products of pieces of rows, then added, lose a tenth of it. With many inputs that takes a tenth
# longer.
MANY = 1 << 17  # rows; in PyTorch, where pieces cost no time, fewer of them
FEW = 8  # inputs
PIECE = 16384  # rows of one product
PIECE_OF_FEW = 2048  # with few inputs
FAR = 1 << 30  # rows, which no table has


def _forward(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ weight.T, (x, weight)


def _tangent(residuals: tuple[Array, Array], tangents: tuple[Array, Array]) -> Array:
    x, weight = residuals
    return tangents[0] @ weight.T + x @ tangents[1].T


def _derivative(residuals: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, weight = residuals
    few = x.shape[1] <= FEW
    size = PIECE_OF_FEW if few else PIECE
    whole = len(x) // size * size
    pieces = tuple(t[:whole].reshape(-1, size, t.shape[1]) for t in (grad, x))
    rest = grad[whole:].T @ x[whole:]
    if few:  # one after the other takes three times as long
        return grad @ weight, jnp.einsum("nro,nri->noi", *pieces).sum(0) + rest
    return grad @ weight, lax.scan(lambda total, some: (total + some[0].T @ some[1], None), rest, pieces)[0]


product = operator(_forward, _tangent, _derivative)  # x W^T: x (R, I), weight (O, I) -> (R, O)


def linear(x: Array, weight: Array) -> Array:
    """x W^T over the last axis: x (..., I), weight (O, I) -> (..., O)."""
    # One axis of rows: XLA's product over two of them, the weight's gradient, is up to three times as slow.
    rows = x.reshape(-1, x.shape[-1])
    few, many = x.shape[-1] <= FEW, len(rows) > MANY
    summed = jax.default_backend() == "cpu" and x.dtype in PARAMETERS  # half precision would round each piece
    return (product(rows, weight) if summed and (few or many) else rows @ weight.T).reshape(*x.shape[:-1], -1)


class Dense(nnx.Module):
    """x W^T + b over the last axis, x of any real type.

    Computed in, and of, ``compute_dtype``, else the parameters' own type.
    """

    def __init__(
        self, values: Mapping[str, np.ndarray], dtype: DTypeLike, compute_dtype: DTypeLike | None = None
    ) -> None:
        check_dtypes(dtype, compute_dtype)
        hold(self, values, dtype)
        self.compute_dtype = compute_dtype

    def __call__(self, x: Array) -> Array:
        dtype = self.compute_dtype or self.weight[...].dtype
        x, weight, bias = (as_real("x", t, dtype) for t in (x, self.weight[...], self.bias[...]))
        return linear(x, weight) + bias


class Embedding(nnx.Module):
    """Rows of a table by whole-number tokens: (B, L) -> (B, L, H), of the same type as ``Dense``.

    A token that has no row gives NaN: to look for one would make a GPU wait, and compiled code cannot refuse it.
    """

    def __init__(
        self, values: Mapping[str, np.ndarray], dtype: DTypeLike, compute_dtype: DTypeLike | None = None
    ) -> None:
        check_dtypes(dtype, compute_dtype)
        hold(self, values, dtype)
        self.compute_dtype = compute_dtype

    def __call__(self, x: Array) -> Array:
        x, weight = as_tokens(x), self.weight[...]
        x = jnp.where(x < 0, x - FAR, x)  # which would count from the end, as in NumPy
        return jnp.take(weight, x, 0, mode="fill").astype(self.compute_dtype or weight.dtype)
