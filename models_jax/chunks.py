"""Linear recurrences by matrix products within chunks of time and the states from chunk to chunk.

Work grows with the length alone, and matrix products do most of it; a transform's logarithm is not paid. Differentiated
by JAX itself.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from models_jax.pairs import Pair, multiply, powers
from models_jax.scan import linear_scan
from ssm.algorithms import CHUNK


def toeplitz(taps: Array) -> Array:
    """(..., T) -> (..., T, T), M[i, j] = taps[i - j] for j <= i, else 0: M u is the causal convolution."""
    size = taps.shape[-1]
    # rows of a length one short of the period start one tap earlier each: the matrix without any index
    period = jnp.tile(jnp.concatenate([taps, jnp.zeros_like(taps)], -1), size)
    return period[..., : size * (2 * size - 1)].reshape(*taps.shape[:-1], size, 2 * size - 1)[..., :size].mT


def into_chunks(x: Array, size: int) -> Array:
    """(B, L, M) -> (M, B C, size), zeros behind the end: time last, as the products want it."""
    batch, length, features = x.shape
    count = -(-length // size)
    x = jnp.pad(x.transpose(2, 0, 1), ((0, 0), (0, 0), (0, count * size - length)))
    return x.reshape(features, batch * count, size)


def out_of_chunks(x: Array, batch: int, length: int) -> Array:
    """The inverse of ``into_chunks``."""
    return x.reshape(len(x), batch, -1)[..., :length].transpose(1, 2, 0)


def entering(a: Pair, ends: Array, batch: int) -> Array:
    """The state that enters each chunk, from what each adds: a (M, S) over a whole chunk, ends (M, B C, 2 S) -> same.

    Real parts, then imaginary ones, as in ``scan.real_view``.
    """
    features, _, double = ends.shape
    halves = ends.reshape(features, batch, -1, 2, double // 2).transpose(1, 2, 3, 0, 4)  # (B, C, 2, M, S)
    states = linear_scan(lax.complex(*a).reshape(-1), halves.reshape(*halves.shape[:2], -1))
    before = jnp.pad(states, ((0, 0), (1, 0), (0, 0)))[:, :-1].reshape(halves.shape)
    return before.transpose(3, 0, 1, 2, 4).reshape(ends.shape)


def chunked_convolve(u: Array, root: Pair, factor: Pair) -> Array:
    """y_l = Re sum_n factor_n x_{l,n}, where x_{l,n} = root_n x_{l-1,n} + u_l.

    u (B, L, H); root and factor (H, S) -> (B, L, H).
    """
    batch, length, _ = u.shape
    real, imag = powers(root, CHUNK + 1)  # (H, S, T + 1)
    late = multiply((factor[0][..., None], factor[1][..., None]), (real, imag))
    taps = late[0][..., :-1].sum(-2)  # the kernel's first steps, within a chunk
    enter = jnp.concatenate([real, imag], 1)[..., -2::-1].mT  # (H, T, 2 S)
    read = jnp.concatenate([late[0], -late[1]], 1)[..., 1:]  # (H, 2 S, T)
    inputs = into_chunks(u, CHUNK)
    states = entering((real[..., -1], imag[..., -1]), inputs @ enter, batch)
    return out_of_chunks(inputs @ toeplitz(taps).mT + states @ read, batch, length)


def chunked_scan(a: Array, b: Array) -> Array:
    """x_l = a x_{l-1} + b_l from x = 0: a (S,) complex, b (B, L, 2 S) real, laid out by ``scan.real_view`` -> same."""
    batch, length, double = b.shape
    real, imag = powers((a.real, a.imag), CHUNK + 1)  # (S, T + 1)
    within = toeplitz(jnp.stack([real, imag])[..., :-1]).mT  # (2, S, T, T), from a step to the later ones
    turn = jnp.block([[within[0], within[1]], [-within[1], within[0]]])  # (S, 2 T, 2 T)
    inputs = into_chunks(b, CHUNK).reshape(2, double // 2, -1, CHUNK)
    x = jnp.concatenate(list(inputs), -1) @ turn  # (S, B C, 2 T)
    states = entering((real[:, -1:], imag[:, -1:]), x[..., CHUNK - 1 :: CHUNK], batch)  # (S, B C, 2)
    spread = jnp.stack([jnp.stack([real, imag], 1), jnp.stack([-imag, real], 1)], 1)[..., 1:]  # (S, 2, 2, T)
    x = x + states @ spread.reshape(double // 2, 2, -1)
    return jnp.concatenate([out_of_chunks(part, batch, length) for part in jnp.split(x, 2, -1)], -1)
