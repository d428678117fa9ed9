"""S4's sums over conjugate pairs, sum_n t_n / ((kappa a_n + i sigma)^2 + (kappa b_n)^2), with their derivative.

The reciprocals are made piece by piece, used by a small matrix product, and made anew for the derivative: no array of
channels x states x frequencies is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PIECE = 1 << 17  # elements of one temporary: half a MiB in float32, so that a piece's temporaries stay in the cache


def pieces(channels: int, states: int, points: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of channels and frequencies with at most PIECE elements over all states."""
    wide = max(1, min(points, PIECE // states))
    tall = max(1, PIECE // (states * wide))
    for row in range(0, channels, tall):
        for column in range(0, points, wide):
            yield slice(row, row + tall), slice(column, column + wide)


def reciprocals(a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Real and imaginary parts of 1 / ((alpha + i sigma)^2 + beta^2), alpha = kappa a, beta = kappa b; (H, S, F)."""
    alpha, beta = kappa[:, None] * a[..., None], kappa[:, None] * b[..., None]
    real = torch.addcmul((beta - sigma) * (beta + sigma), alpha, alpha)  # factored: beta is near sigma at resonance
    imag = (2.0 * sigma) * alpha
    size = torch.addcmul(real * real, imag, imag).reciprocal_()
    return real.mul_(size), imag.mul_(size).neg_(), alpha, beta


class _CauchySums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, terms: Tensor, a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor) -> Tensor:
        ctx.save_for_backward(terms, a, b, kappa, sigma)
        channels, rows, states = terms.shape
        sums = terms.new_empty(2, channels, rows, len(sigma))
        for row, column in pieces(channels, states, len(sigma)):
            real, imag, _, _ = reciprocals(a[row], b[row], kappa[row, column], sigma[column])
            sums[0, row, :, column] = terms[row] @ real
            sums[1, row, :, column] = terms[row] @ imag
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        terms, a, b, kappa, sigma = ctx.saved_tensors
        channels, _, states = terms.shape
        d_terms, d_a, d_b, d_kappa = (torch.zeros_like(t) for t in (terms, a, b, kappa))
        for row, column in pieces(channels, states, len(sigma)):
            k, s = kappa[row, column], sigma[column]
            real, imag, alpha, beta = reciprocals(a[row], b[row], k, s)
            g_real, g_imag = grad[0, row, :, column], grad[1, row, :, column]
            d_terms[row] += torch.baddbmm(g_real @ real.mT, g_imag, imag.mT)
            back = terms[row].mT
            d_real, d_imag = back @ g_real, back @ g_imag
            # q = 1 / m has derivative -q^2; real pairs of conj(q^2) (d_real + i d_imag), sign turned below
            square, cross = real * real - imag * imag, 2.0 * real * imag
            m_real = square * d_real + cross * d_imag
            m_imag = square * d_imag - cross * d_real
            d_alpha = -2.0 * (alpha * m_real + s * m_imag)
            d_beta = -2.0 * beta * m_real
            d_a[row] += torch.linalg.vecdot(d_alpha, k[:, None])
            d_b[row] += torch.linalg.vecdot(d_beta, k[:, None])
            d_kappa[row, column] = (d_alpha * a[row, :, None] + d_beta * b[row, :, None]).sum(1)
        return d_terms, d_a, d_b, d_kappa, None


def cauchy_sums(terms: Tensor, a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the states: terms (H, R, S), a and b (H, S), kappa (H, F), sigma (F,), real -> two (H, R, F)."""
    return _CauchySums.apply(terms, a, b, kappa, sigma).unbind(0)
