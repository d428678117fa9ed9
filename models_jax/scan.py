"""The linear recurrence x_l = a x_{l-1} + b_l over a whole sequence, in chunks, with its exact derivative."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from ssm.lengths import chunk_length


def steps(a: Array, b: Array, reverse: bool) -> Array:
    """The scan over the leading axis, one element after the other."""

    def advance(x: Array, b: Array) -> tuple[Array, Array]:
        x = a * x + b
        return x, x

    return jax.lax.scan(advance, jnp.zeros_like(b[0]), b, reverse=reverse)[1]


def scan_chunks(a: Array, b: Array, reverse: bool) -> Array:
    """The scan itself: sequential within all chunks at once, then over the chunks' last states, then those spread."""
    batch, length, states = b.shape
    size = chunk_length(length)
    chunks = -(-length // size)
    x = jnp.pad(b, ((0, 0), (0, chunks * size - length), (0, 0))).reshape(batch, chunks, size, states)
    x = steps(a, x.transpose(2, 0, 1, 3), reverse)  # (size, B, chunks, S)
    if chunks > 1:
        power = jnp.cumprod(jnp.broadcast_to(a, (size, states)), 0)  # a^1 ... a^size
        last = x[0 if reverse else -1].swapaxes(0, 1)  # (chunks, B, S)
        carry = steps(power[-1], last, reverse)
        empty = jnp.zeros_like(carry[:1])
        entering = jnp.concatenate([carry[1:], empty] if reverse else [empty, carry[:-1]]).swapaxes(0, 1)
        spread = power[::-1] if reverse else power
        x = x + spread[:, None, None] * entering
    return x.transpose(1, 2, 0, 3).reshape(batch, chunks * size, states)[:, :length]


def forward(a: Array, b: Array, reverse: bool) -> tuple[Array, tuple]:
    x = scan_chunks(a, b, reverse)
    return x, (a, x)


def backward(reverse: bool, residuals: tuple, grad: Array) -> tuple[Array, Array]:
    a, x = residuals
    # JAX's cotangents of complex numbers are the conjugates of PyTorch's: the adjoint runs the other way with a itself
    d_b = scan_chunks(a, grad, not reverse)
    here, before = (slice(None, -1), slice(1, None)) if reverse else (slice(1, None), slice(None, -1))
    d_a = jnp.sum(x[:, before] * d_b[:, here], (0, 1))
    return d_a, d_b


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def linear_scan(a: Array, b: Array, reverse: bool = False) -> Array:
    """x_l = a x_{l-1} + b_l from x = 0, or from the end when ``reverse``: a (S,), b (B, L, S) complex -> (B, L, S)."""
    return forward(a, b, reverse)[0]


linear_scan.defvjp(forward, backward)
