"""S4's sums over conjugate pairs, sum_n t_n / ((kappa a_n + i sigma)^2 + (kappa b_n)^2), with their derivative.

The reciprocals are made piece by piece, used by a small matrix product, and made anew for the derivative: no array of
channels x states x frequencies is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models_torch.operators import derivative_operator, gradients, operator

PIECE = 1 << 17  # elements of one temporary: half a MiB in float32, so that a piece's temporaries stay in the cache


def pieces(like: Tensor, points: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of channels and frequencies with at most PIECE elements over all states, or 2^8 times that on a GPU."""
    channels, _, states = like.shape
    most = PIECE << 8 if like.is_cuda else PIECE
    wide = max(1, min(points, most // states))
    tall = max(1, most // (states * wide))
    for row in range(0, channels, tall):
        for column in range(0, points, wide):
            yield slice(row, row + tall), slice(column, column + wide)


def reciprocals(a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """q = 1 / ((alpha + i sigma)^2 + beta^2), alpha = kappa a, beta = kappa b; real and imaginary part, (H, S, F)."""
    alpha, beta = kappa[:, None] * a[..., None], kappa[:, None] * b[..., None]
    real = torch.addcmul((beta - sigma) * (beta + sigma), alpha, alpha)  # factored: beta is near sigma at resonance
    imag = (2.0 * sigma) * alpha
    size = torch.addcmul(real * real, imag, imag).reciprocal_()
    return real.mul_(size), imag.mul_(size).neg_()


def _kernel(terms: Tensor, a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor) -> Tensor:
    channels, rows, _ = terms.shape
    sums = terms.new_empty(2, channels, rows, len(sigma))
    for row, column in pieces(terms, len(sigma)):
        real, imag = reciprocals(a[row], b[row], kappa[row, column], sigma[column])
        sums[0, row, :, column] = terms[row] @ real
        sums[1, row, :, column] = terms[row] @ imag
    return sums


def _fake(terms: Tensor, a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor) -> Tensor:
    return terms.new_empty(2, *terms.shape[:2], len(sigma))


def _plain(terms: Tensor, a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor) -> Tensor:
    alpha, beta = kappa[:, None] * a[..., None], kappa[:, None] * b[..., None]
    real, imag = (beta - sigma) * (beta + sigma) + alpha * alpha, 2.0 * sigma * alpha
    size = real * real + imag * imag
    return torch.stack([terms @ (real / size), terms @ (-imag / size)])


def _backward_kernel(
    grad: Tensor, terms: Tensor, a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    d_terms, d_a, d_b, d_kappa = (
        torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (terms, a, b, kappa)
    )
    for row, column in pieces(terms, len(sigma)):
        k, s = kappa[row, column], sigma[column]
        real, imag = reciprocals(a[row], b[row], k, s)
        g_real, g_imag = grad[0, row, :, column], grad[1, row, :, column]
        d_terms[row] += torch.baddbmm(g_real @ real.mT, g_imag, imag.mT)
        back = terms[row].mT
        d_real, d_imag = back @ g_real, back @ g_imag
        # dq = -2 q^2 ((alpha + i sigma) d alpha + beta d beta): real pairs of conj(q^2) (d_real + i d_imag)
        square, cross = torch.addcmul(real * real, imag, imag, value=-1.0), real.mul_(imag).mul_(2.0)
        m_real = torch.addcmul(square * d_real, cross, d_imag)
        m_imag = torch.addcmul(square * d_imag, cross, d_real, value=-1.0)
        from_real = -2.0 * (m_real @ (k * k)[..., None])[..., 0]
        d_a[row] += torch.addcmul(-2.0 * (m_imag @ (k * s)[..., None])[..., 0], a[row], from_real)
        d_b[row] += b[row] * from_real
        over_real = ((a[row] * a[row] + b[row] * b[row])[:, None] @ m_real)[:, 0]
        d_kappa[row, column] = torch.addcmul(k * over_real, s, (a[row, None] @ m_imag)[:, 0]).mul_(-2.0)
    return d_terms, d_a, d_b, d_kappa


def _backward_fake(
    grad: Tensor, terms: Tensor, a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor
) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (terms, a, b, kappa))


def _backward_plain(
    grad: Tensor, terms: Tensor, a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor
) -> tuple[Tensor, ...]:
    return gradients(lambda *x: _plain(*x, sigma), (terms, a, b, kappa), (grad,))


_backward = derivative_operator("cauchy_sums_backward", _backward_kernel, _backward_fake, _backward_plain)


def _keep(ctx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _derivative(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_backward(grad, *ctx.saved_tensors), None


_cauchy_sums = operator("cauchy_sums", _kernel, _fake, _plain, _keep, _derivative)


def cauchy_sums(terms: Tensor, a: Tensor, b: Tensor, kappa: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the states: terms (H, R, S), a and b (H, S), kappa (H, F), sigma (F,), real -> two (H, R, F)."""
    return _cauchy_sums(terms, a, b, kappa, sigma).unbind(0)
