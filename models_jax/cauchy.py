"""S4's sums over conjugate pairs, sum_n t_n / ((kappa a_n + i sigma)^2 + (kappa b_n)^2), with their derivative.

The reciprocals are made for a piece of the frequencies at a time, used by a small matrix product and what follows it,
and made anew for the derivative: no array of channels x states x frequencies is ever held.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from models_jax.operators import operator

Finish = Callable[[Array, Array, Array, Array], Array]
PIECE = 1 << 19  # elements of one temporary: 2 MiB in float32


def reciprocals(a: Array, b: Array, kappa: Array, sigma: Array) -> tuple[Array, Array]:
    """q = 1 / ((alpha + i sigma)^2 + beta^2), alpha = kappa a, beta = kappa b; real and imaginary part, (H, S, F)."""
    alpha, beta = kappa[:, None] * a[..., None], kappa[:, None] * b[..., None]
    real = (beta - sigma) * (beta + sigma) + alpha * alpha  # factored: beta is near sigma at resonance
    imag = 2.0 * sigma * alpha
    size = 1.0 / (real * real + imag * imag)
    return real * size, -imag * size


def pieces(states: tuple[int, int], points: int) -> tuple[int, int]:
    """How many pieces and frequencies in each, so that a temporary (H, S, wide) has about PIECE elements."""
    most = PIECE if jax.default_backend() == "cpu" else PIECE << 8
    count = -(-states[0] * states[1] * points // most)
    wide = -(-points // count)
    return -(-points // wide), wide


def split(x: Array, count: int, wide: int, behind: float = 0.0) -> Array:
    """(..., F) -> (count, ..., wide), filled up with ``behind``."""
    missing = count * wide - x.shape[-1]
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)], constant_values=behind)
    return jnp.moveaxis(x.reshape(*x.shape[:-1], count, wide), -2, 0)


def arguments(kappa: Array, sigma: Array, count: int, wide: int) -> tuple[Array, Array]:
    """kappa and sigma in pieces; behind the end 0 and 1, where every reciprocal is finite."""
    return split(kappa, count, wide), split(sigma, count, wide, behind=1.0)


def join(x: Array, points: int) -> Array:
    """The inverse of ``split``."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)[..., :points]


def forward(
    finish: Finish, terms: Array, a: Array, b: Array, kappa: Array, sigma: Array
) -> tuple[Array, tuple[Array, ...]]:
    def piece(at: tuple[Array, Array]) -> Array:
        real, imag = reciprocals(a, b, *at)
        return finish(terms @ real, terms @ imag, *at)

    count, wide = pieces(a.shape, len(sigma))
    made = jax.lax.map(piece, arguments(kappa, sigma, count, wide))
    return join(made, len(sigma)), (terms, a, b, kappa, sigma)


def tangent(finish: Finish, residuals: tuple[Array, ...], tangents: tuple[Array, ...]) -> Array:
    *moved, sigma = residuals
    return jax.jvp(lambda *x: forward(finish, *x, sigma)[0], moved, list(tangents[:-1]))[1]


def backward(finish: Finish, residuals: tuple[Array, ...], grad: Array) -> tuple[Array, ...]:
    terms, a, b, kappa, sigma = residuals

    def piece(sums: tuple[Array, ...], at: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array]:
        *own, d_kappa = piece_backward(finish, terms, a, b, *at)
        return tuple(x + y for x, y in zip(sums, own, strict=True)), d_kappa

    count, wide = pieces(a.shape, len(sigma))
    zeros = jnp.zeros_like(terms), jnp.zeros_like(a), jnp.zeros_like(b)
    at = (*arguments(kappa, sigma, count, wide), split(grad, count, wide))
    sums, d_kappa = jax.lax.scan(piece, zeros, at)
    return *sums, join(d_kappa, len(sigma)), jnp.zeros_like(sigma)


def piece_backward(
    finish: Finish, terms: Array, a: Array, b: Array, kappa: Array, sigma: Array, grad: Array
) -> tuple[Array, Array, Array, Array]:
    """Gradients with regard to terms, a, b, kappa from some frequencies' results (..., wide)."""
    real, imag = reciprocals(a, b, kappa, sigma)
    _, finish_backward = jax.vjp(partial(finish, sigma=sigma), terms @ real, terms @ imag, kappa)
    g_real, g_imag, g_kappa = finish_backward(grad)
    d_terms = g_real @ real.mT + g_imag @ imag.mT
    d_real, d_imag = terms.mT @ g_real, terms.mT @ g_imag
    # dq = -2 q^2 ((alpha + i sigma) d alpha + beta d beta): real pairs of -2 conj(q^2) (d_real + i d_imag)
    square, cross = real * real - imag * imag, 2.0 * real * imag
    m_real = -2.0 * (square * d_real + cross * d_imag)
    m_imag = -2.0 * (square * d_imag - cross * d_real)
    from_real, from_imag = (m_real @ (kappa * kappa)[..., None])[..., 0], (m_imag @ (kappa * sigma)[..., None])[..., 0]
    d_kappa = kappa * ((a * a + b * b)[:, None] @ m_real)[:, 0] + sigma * (a[:, None] @ m_imag)[:, 0]
    return d_terms, a * from_real + from_imag, b * from_real, g_kappa + d_kappa


_cauchy_sums = operator(forward, tangent, backward, numbers=1)


def cauchy_sums(finish: Finish, terms: Array, a: Array, b: Array, kappa: Array, sigma: Array) -> Array:
    """``finish`` of the sums over the states, which are real and imaginary parts (H, R, F).

    terms (H, R, S), a and b (H, S), kappa (H, F), sigma (F,), real -> (..., F). ``finish`` takes the two sums, kappa
    and sigma at some of the frequencies, each for itself, while they are in the cache; sigma has no gradient.
    """
    return _cauchy_sums(finish, terms, a, b, kappa, sigma)
