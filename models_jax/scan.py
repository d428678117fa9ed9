"""The linear recurrence x_l = a x_{l-1} + b_l over a whole sequence, in chunks, with its exact derivative.

The sequences come and go as real numbers, as the matrix products around need and give them; a few of them are carried
through all stages at a time, so that what is between stays in the cache.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

from models_jax.operators import operator
from ssm.lengths import chunk_length, largest_divisor

PIECE = 1 << 20  # real numbers of the sequences that are scanned together: 4 MiB in float32


def real_view(matrix: Array) -> Array:
    """(..., S) complex -> (..., 2 S) real: all real parts, then all imaginary ones (PyTorch stores them in pairs)."""
    return jnp.concatenate([matrix.real, matrix.imag], -1)


def complex_view(halves: Array) -> Array:
    """(..., 2 S) real -> (..., S) complex, the inverse of ``real_view``."""
    return lax.complex(*jnp.split(halves, 2, -1))


def in_pieces(x: Array, most: int) -> Array:
    """(B, L, M) -> (pieces, b, L, M): whole numbers of sequences, at most ``most`` of them on a CPU, elsewhere all."""
    count = largest_divisor(len(x), most if jax.default_backend() == "cpu" else len(x))
    return x.reshape(-1, count, *x.shape[1:])


def steps(a: Array, b: Array, reverse: bool) -> Array:
    """The scan over the leading axis, one element after the other."""

    def advance(x: Array, b: Array) -> tuple[Array, Array]:
        x = a * x + b
        return x, x

    return lax.scan(advance, jnp.zeros_like(b[0]), b, reverse=reverse)[1]


def scan_chunks(a: Array, b: Array, reverse: bool) -> Array:
    """(b, L, S) -> (b, L, S): sequential within all chunks at once, then over the chunks' last states, then spread."""
    batch, length, states = b.shape
    size = chunk_length(length)
    chunks = -(-length // size)
    x = jnp.pad(b, ((0, 0), (0, chunks * size - length), (0, 0))).reshape(batch, chunks, size, states)
    x = steps(a, x.transpose(2, 0, 1, 3), reverse)  # (size, b, chunks, S)
    if chunks > 1:
        power = jnp.cumprod(jnp.broadcast_to(a, (size, states)), 0)  # a^1 ... a^size
        last = x[0 if reverse else -1].swapaxes(0, 1)  # (chunks, b, S)
        carry = steps(power[-1], last, reverse)
        empty = jnp.zeros_like(carry[:1])
        entering = jnp.concatenate([carry[1:], empty] if reverse else [empty, carry[:-1]]).swapaxes(0, 1)
        spread = power[::-1] if reverse else power
        x = x + spread[:, None, None] * entering
    return x.transpose(1, 2, 0, 3).reshape(batch, chunks * size, states)[:, :length]


def forward(reverse: bool, a: Array, b: Array) -> tuple[Array, tuple]:
    pieces = in_pieces(b, PIECE // b[0].size)
    x = lax.map(lambda b: real_view(scan_chunks(a, complex_view(b), reverse)), pieces).reshape(b.shape)
    return x, (a, x)


def tangent(reverse: bool, residuals: tuple, tangents: tuple) -> Array:
    a, x = residuals
    d_a, d_b = tangents
    before = jnp.pad(complex_view(x), ((0, 0), (0, 1) if reverse else (1, 0), (0, 0)))
    return forward(reverse, a, d_b + real_view(d_a * (before[:, 1:] if reverse else before[:, :-1])))[0]


def backward(reverse: bool, residuals: tuple, grad: Array) -> tuple[Array, Array]:
    a, x = residuals
    here, before = (slice(None, -1), slice(1, None)) if reverse else (slice(1, None), slice(None, -1))

    def piece(d_a: Array, some: tuple[Array, Array]) -> tuple[Array, Array]:
        x, grad = some
        # The adjoint runs the other way with conj(a), and its real pairs are those of b's gradient. JAX's gradients of
        # complex numbers are the conjugates of PyTorch's, hence a's.
        d_b = scan_chunks(a.conj(), complex_view(grad), not reverse)
        return d_a + (complex_view(x)[:, before] * d_b[:, here].conj()).sum((0, 1)), real_view(d_b)

    d_a, d_b = lax.scan(piece, jnp.zeros_like(a), tuple(in_pieces(t, PIECE // x[0].size) for t in (x, grad)))
    return d_a, d_b.reshape(grad.shape)


_linear_scan = operator(forward, tangent, backward, numbers=1)


def linear_scan(a: Array, b: Array, reverse: bool = False) -> Array:
    """x_l = a x_{l-1} + b_l from x = 0, or from the end when ``reverse``.

    a (S,) complex; b (B, L, 2 S) real, laid out as ``real_view`` does -> (B, L, 2 S), in the same layout.
    """
    return _linear_scan(reverse, a, b)
