"""Long convolutions by real transforms, with a derivative that shares them. Causal, or in both directions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssm.lengths import transform_length


def forward(u: Array, k: Array) -> tuple[Array, tuple]:
    size = transform_length(u.shape[-1] + k.shape[-1] - 1)
    u_f, k_f = jnp.fft.rfft(u, n=size), jnp.fft.rfft(k, n=size)
    # a kernel that runs backwards in time is its transform's conjugate
    k_f = k_f[0] if len(k) == 1 else k_f[0] + k_f[1].conj()
    # the kernel's shape travels with an empty array, since residuals are arrays
    return jnp.fft.irfft(u_f * k_f, n=size)[..., : u.shape[-1]], (u_f, k_f, jnp.empty((0, *k.shape), k.dtype))


def backward(residuals: tuple, grad: Array) -> tuple[Array, Array]:
    u_f, k_f, like_k = residuals
    _, directions, _, taps = like_k.shape
    length = grad.shape[-1]
    size = transform_length(length + taps - 1)
    grad_f = jnp.fft.rfft(grad, n=size)
    d_u = jnp.fft.irfft(grad_f * k_f.conj(), n=size)[..., :length]
    d_k = jnp.sum(u_f.conj() * grad_f, 0)
    d_k = d_k[None] if directions == 1 else jnp.stack([d_k, d_k.conj()])
    return d_u, jnp.fft.irfft(d_k, n=size)[..., :taps]


@jax.custom_vjp
def convolve(u: Array, kernels: Array) -> Array:
    """Convolves each channel with its kernel.

    y[b, h, l] = sum_{j <= l} k[0, h, l - j] u[b, h, j] (+ sum_{j >= l} k[1, h, j - l] u[b, h, j]).
    u (B, H, L) real; kernels (1 or 2, H, L') real, forward and backward in time (lag 0 counts in both) -> (B, H, L).
    """
    return forward(u, kernels)[0]


convolve.defvjp(forward, backward)
