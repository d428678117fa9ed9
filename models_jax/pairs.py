"""Complex numbers as pairs of real arrays: compilers fuse and vectorise real arithmetic better than complex."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from models_jax.operators import operator

Pair = tuple[Array, Array]  # real and imaginary part


def multiply(x: Pair, y: Pair) -> Pair:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def reciprocal(x: Pair, eps: float) -> Pair:
    """conj(x) / (|x|^2 + eps)."""
    size = x[0] * x[0] + x[1] * x[1] + eps
    return x[0] / size, -x[1] / size


def exponential(x: Pair) -> Pair:
    grown = jnp.exp(x[0])
    return grown * jnp.cos(x[1]), grown * jnp.sin(x[1])


def exponential_less_one(x: Pair) -> Pair:
    """exp(x) - 1 without cancellation near 0: expm1(a) cos b - 2 sin^2(b / 2) + i exp(a) sin b."""
    half = jnp.sin(0.5 * x[1])
    return jnp.expm1(x[0]) * jnp.cos(x[1]) - 2.0 * half * half, jnp.exp(x[0]) * jnp.sin(x[1])


def _forward(count: int, x: Pair) -> tuple[Pair, Pair]:
    table = jnp.ones_like(x[0])[..., None], jnp.zeros_like(x[1])[..., None]
    x = x[0][..., None], x[1][..., None]
    while table[0].shape[-1] < count:
        table = tuple(jnp.concatenate(halves, -1) for halves in zip(table, multiply(table, x), strict=True))
        x = multiply(x, x)
    table = table[0][..., :count], table[1][..., :count]
    return table, table


def _tangent(count: int, table: Pair, tangents: tuple[Pair]) -> Pair:
    steps = jnp.arange(count, dtype=table[0].dtype)
    before = tuple(steps * jnp.concatenate([jnp.zeros_like(t[..., :1]), t[..., :-1]], -1) for t in table)
    return multiply(before, tuple(t[..., None] for t in tangents[0]))


def _backward(count: int, table: Pair, grad: Pair) -> tuple[Pair]:
    # x^j has derivative j x^(j - 1): one sum instead of the doublings run backwards
    real, imag = table[0][..., :-1], table[1][..., :-1]
    g_real, g_imag = (jnp.arange(1, count, dtype=g.dtype) * g[..., 1:] for g in grad)
    return (((real * g_real + imag * g_imag).sum(-1), (real * g_imag - imag * g_real).sum(-1)),)


_powers = operator(_forward, _tangent, _backward, numbers=1)


def powers(x: Pair, count: int) -> Pair:
    """x^0 ... x^(count - 1) along a new last axis, by doubling: a sine and a cosine cost as much as 20 products."""
    return _powers(count, x)
