"""Long convolutions by real transforms, with a derivative of their own. Causal, or in both directions.

A few sequences are carried through all stages at a time, so that what is between the transforms stays in the cache;
the input's transform is made anew for the derivative (PyTorch keeps it: its transforms cost more than its memory).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from models_jax.operators import operator
from models_jax.pairs import powers
from models_jax.scan import complex_view, in_pieces, real_view
from ssm.lengths import transform_length

PIECE = 1 << 19  # elements of one stage of one piece: 2 MiB in float32


def transform(x: Array, size: int) -> Array:
    """(b, L, H) -> (b, H, size // 2 + 1)."""
    return jnp.fft.rfft(x.swapaxes(1, 2), n=size)


def kernel_transform(k: Array, size: int) -> Array:
    """(1 or 2, H, L') -> (H, size // 2 + 1); a kernel that runs backwards in time is its transform's conjugate."""
    k_f = jnp.fft.rfft(k, n=size)
    return k_f[0] if len(k) == 1 else k_f[0] + k_f[1].conj()


def filtered(x_f: Array, k_f: Array, length: int, size: int) -> Array:
    return jnp.fft.irfft(x_f * k_f, n=size)[..., :length].swapaxes(1, 2)


def forward(u: Array, k: Array, d: Array) -> tuple[Array, tuple]:
    length = u.shape[1]
    size = transform_length(length + k.shape[-1] - 1)
    k_f = kernel_transform(k, size)
    pieces = in_pieces(u, PIECE // (len(d) * size))
    y = jax.lax.map(lambda u: filtered(transform(u, size), k_f, length, size) + d * u, pieces)
    return y.reshape(u.shape), (u, k, d)


def tangent(residuals: tuple, tangents: tuple) -> Array:
    u, k, d = residuals
    d_u, d_k, d_d = tangents
    return forward(d_u, k, d)[0] + forward(u, d_k, d_d)[0]


def backward(residuals: tuple, grad: Array) -> tuple[Array, Array, Array]:
    u, k, d = residuals
    length = grad.shape[1]
    size = transform_length(length + k.shape[-1] - 1)
    k_f = kernel_transform(k, size).conj()

    def piece(sums: tuple[Array, Array], some: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        grad, u = some
        grad_f = transform(grad, size)
        d_k = sums[0] + (transform(u, size).conj() * grad_f).sum(0)
        d_d = sums[1] + (grad * u).sum((0, 1))
        return (d_k, d_d), filtered(grad_f, k_f, length, size) + d * grad

    zeros = jnp.zeros_like(k_f), jnp.zeros_like(d)
    pieces = tuple(in_pieces(t, PIECE // (len(d) * size)) for t in (grad, u))
    (d_k, d_d), d_u = jax.lax.scan(piece, zeros, pieces)
    d_k = d_k[None] if len(k) == 1 else jnp.stack([d_k, d_k.conj()])
    return d_u.reshape(u.shape), jnp.fft.irfft(d_k, n=size)[..., : k.shape[-1]], d_d


def transform_scan(a: Array, b: Array) -> Array:
    """x_l = a x_{l-1} + b_l from x = 0, each state's recurrence as a complex convolution with its powers.

    a (S,) complex, b (B, L, 2 S) real, laid out by ``scan.real_view`` -> the same. Differentiated by JAX itself.
    """
    length = b.shape[1]
    size = transform_length(2 * length - 1)
    kernel = jax.lax.complex(*powers((a.real, a.imag), length))  # (S, L)
    b_f = jnp.fft.fft(complex_view(b).mT, n=size)
    return real_view(jnp.fft.ifft(b_f * jnp.fft.fft(kernel, n=size))[..., :length].mT)


_convolve = operator(forward, tangent, backward)


def convolve(u: Array, kernels: Array, d: Array) -> Array:
    """Convolves each channel with its kernel and adds the skip connection d u.

    y[b, l, h] = d[h] u[b, l, h] + sum_{j <= l} k[0, h, l - j] u[b, j, h] (+ sum_{j >= l} k[1, h, j - l] u[b, j, h]).
    u (B, L, H), kernels (1 or 2, H, L') forward and backward in time (lag 0 counts in both), d (H,), real -> (B, L, H).
    """
    return _convolve(u, kernels, d)
