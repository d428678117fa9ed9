"""S4's sums over conjugate pairs, sum_n t_n / ((kappa a_n + i sigma)^2 + (kappa b_n)^2), with their derivative.

The reciprocals are used by a small matrix product and made anew for the derivative.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def reciprocals(a: Array, b: Array, kappa: Array, sigma: Array) -> tuple[Array, Array, Array, Array]:
    """Real and imaginary parts of 1 / ((alpha + i sigma)^2 + beta^2), alpha = kappa a, beta = kappa b; (H, S, F)."""
    alpha, beta = kappa[:, None] * a[..., None], kappa[:, None] * b[..., None]
    real = (beta - sigma) * (beta + sigma) + alpha * alpha  # factored: beta is near sigma at resonance
    imag = 2.0 * sigma * alpha
    size = 1.0 / (real * real + imag * imag)
    return real * size, -imag * size, alpha, beta


def forward(terms: Array, a: Array, b: Array, kappa: Array, sigma: Array) -> tuple[tuple[Array, Array], tuple]:
    real, imag, _, _ = reciprocals(a, b, kappa, sigma)
    return (terms @ real, terms @ imag), (terms, a, b, kappa, sigma)


def backward(residuals: tuple, grad: tuple[Array, Array]) -> tuple:
    terms, a, b, kappa, sigma = residuals
    real, imag, alpha, beta = reciprocals(a, b, kappa, sigma)
    g_real, g_imag = grad
    d_terms = g_real @ real.mT + g_imag @ imag.mT
    d_real, d_imag = terms.mT @ g_real, terms.mT @ g_imag
    # q = 1 / m has derivative -q^2; real pairs of conj(q^2) (d_real + i d_imag), sign turned below
    square, cross = real * real - imag * imag, 2.0 * real * imag
    m_real = square * d_real + cross * d_imag
    m_imag = square * d_imag - cross * d_real
    d_alpha = -2.0 * (alpha * m_real + sigma * m_imag)
    d_beta = -2.0 * beta * m_real
    d_a, d_b = (d_alpha * kappa[:, None]).sum(-1), (d_beta * kappa[:, None]).sum(-1)
    return d_terms, d_a, d_b, (d_alpha * a[..., None] + d_beta * b[..., None]).sum(1), jnp.zeros_like(sigma)


@jax.custom_vjp
def cauchy_sums(terms: Array, a: Array, b: Array, kappa: Array, sigma: Array) -> tuple[Array, Array]:
    """Sums over the states: terms (H, R, S), a and b (H, S), kappa (H, F), sigma (F,), real -> two (H, R, F)."""
    return forward(terms, a, b, kappa, sigma)[0]


cauchy_sums.defvjp(forward, backward)
