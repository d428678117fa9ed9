"""Long convolutions by real transforms, with a derivative of their own. Causal, or in both directions.

A few channels are carried through all stages at a time, so that what is between the transforms stays in the cache
(PyTorch, whose transposed copies cost less, carries a few sequences); the input's transform is made anew for the
derivative (PyTorch keeps it).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from models_jax.pairs import powers
from models_jax.scan import complex_view, real_view
from ssm.lengths import largest_divisor, transform_length

PIECE = 1 << 19  # elements of one stage of one piece: 2 MiB in float32


def in_pieces(x: Array, batch: int, size: int) -> Array:
    """(H, ...) -> (pieces, h, ...): whole numbers of channels whose transforms have about PIECE elements."""
    count = largest_divisor(len(x), len(x) if jax.default_backend() != "cpu" else PIECE // (batch * size))
    return x.reshape(-1, count, *x.shape[1:])


def channels_first(x: Array) -> Array:
    """(B, L, H) -> (H, B, L)."""
    return x.transpose(2, 0, 1)


def channels_last(x: Array) -> Array:
    """(pieces, h, B, L) -> (B, L, H)."""
    return x.reshape(-1, *x.shape[2:]).transpose(1, 2, 0)


def kernel_transform(k: Array, size: int) -> Array:
    """(1 or 2, H, L') -> (H, size // 2 + 1); a kernel that runs backwards in time is its transform's conjugate."""
    k_f = jnp.fft.rfft(k, n=size)
    return k_f[0] if len(k) == 1 else k_f[0] + k_f[1].conj()


def filtered(x_f: Array, k_f: Array, length: int, size: int) -> Array:
    """(h, B, F) and (h, F) -> (h, B, length)."""
    return jnp.fft.irfft(x_f * k_f[:, None], n=size)[..., :length]


def forward(u: Array, k: Array, d: Array) -> tuple[Array, tuple]:
    batch, length, _ = u.shape
    size = transform_length(length + k.shape[-1] - 1)

    def piece(some: tuple[Array, Array, Array]) -> Array:
        u, k_f, d = some
        return filtered(jnp.fft.rfft(u, n=size), k_f, length, size) + d[:, None, None] * u

    y = jax.lax.map(piece, tuple(in_pieces(x, batch, size) for x in (channels_first(u), kernel_transform(k, size), d)))
    return channels_last(y), (u, k, d)


def backward(residuals: tuple, grad: Array) -> tuple[Array, Array, Array]:
    u, k, d = residuals
    batch, length, _ = grad.shape
    size = transform_length(length + k.shape[-1] - 1)

    def piece(some: tuple[Array, ...]) -> tuple[Array, Array, Array]:
        grad, u, k_f, d = some
        grad_f = jnp.fft.rfft(grad, n=size)
        d_k = (jnp.fft.rfft(u, n=size).conj() * grad_f).sum(1)
        return filtered(grad_f, k_f.conj(), length, size) + d[:, None, None] * grad, d_k, (grad * u).sum((1, 2))

    values = (channels_first(grad), channels_first(u), kernel_transform(k, size), d)
    d_u, d_k, d_d = jax.lax.map(piece, tuple(in_pieces(x, batch, size) for x in values))
    d_k = d_k.reshape(-1, size // 2 + 1)
    d_k = d_k[None] if len(k) == 1 else jnp.stack([d_k, d_k.conj()])
    return channels_last(d_u), jnp.fft.irfft(d_k, n=size)[..., : k.shape[-1]], d_d.reshape(d.shape)


def transform_scan(a: Array, b: Array) -> Array:
    """x_l = a x_{l-1} + b_l from x = 0, each state's recurrence as a complex convolution with its powers.

    a (S,) complex, b (B, L, 2 S) real, laid out by ``scan.real_view`` -> the same. Differentiated by JAX itself.
    """
    length = b.shape[1]
    size = transform_length(2 * length - 1)
    kernel = jax.lax.complex(*powers((a.real, a.imag), length))  # (S, L)
    b_f = jnp.fft.fft(complex_view(b).mT, n=size)
    return real_view(jnp.fft.ifft(b_f * jnp.fft.fft(kernel, n=size))[..., :length].mT)


@jax.custom_vjp
def convolve(u: Array, kernels: Array, d: Array) -> Array:
    """Convolves each channel with its kernel and adds the skip connection d u.

    y[b, l, h] = d[h] u[b, l, h] + sum_{j <= l} k[0, h, l - j] u[b, j, h] (+ sum_{j >= l} k[1, h, j - l] u[b, j, h]).
    u (B, L, H), kernels (1 or 2, H, L') forward and backward in time (lag 0 counts in both), d (H,), real -> (B, L, H).
    """
    return forward(u, kernels, d)[0]


convolve.defvjp(forward, backward)
