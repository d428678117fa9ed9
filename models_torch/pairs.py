"""Complex numbers as pairs of real tensors: compilers fuse and vectorise real arithmetic, and give up on complex."""

from __future__ import annotations

import torch
from torch import Tensor

from models_torch.operators import derivative_operator, operator

Pair = tuple[Tensor, Tensor]  # real and imaginary part


def multiply(x: Pair, y: Pair) -> Pair:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def reciprocal(x: Pair, eps: float) -> Pair:
    """conj(x) / (|x|^2 + eps)."""
    size = x[0] * x[0] + x[1] * x[1] + eps
    return x[0] / size, -x[1] / size


def exponential(x: Pair) -> Pair:
    grown = x[0].exp()
    return grown * x[1].cos(), grown * x[1].sin()


def exponential_less_one(x: Pair) -> Pair:
    """exp(x) - 1 without cancellation near 0: expm1(a) cos b - 2 sin^2(b / 2) + i exp(a) sin b."""
    half = (0.5 * x[1]).sin()
    return x[0].expm1() * x[1].cos() - 2.0 * half * half, x[0].exp() * x[1].sin()


def _kernel(real: Tensor, imag: Tensor, count: int) -> tuple[Tensor, Tensor]:
    table = torch.ones_like(real)[..., None], torch.zeros_like(imag)[..., None]
    x = real[..., None], imag[..., None]
    while table[0].shape[-1] < count:
        table = tuple(torch.cat(halves, -1) for halves in zip(table, multiply(table, x), strict=True))
        x = multiply(x, x)
    return table[0][..., :count].contiguous(), table[1][..., :count].contiguous()


def _fake(real: Tensor, imag: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return real.new_empty(*real.shape, count), imag.new_empty(*imag.shape, count)


def _backward_kernel(g_real: Tensor, g_imag: Tensor, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
    # x^j has derivative j x^(j - 1): one sum instead of the doublings run backwards
    real, imag = real[..., :-1], imag[..., :-1]
    count = torch.arange(1, g_real.shape[-1], dtype=real.dtype, device=real.device)
    g_real, g_imag = (count * g[..., 1:] for g in (g_real, g_imag))
    return (real * g_real + imag * g_imag).sum(-1), (real * g_imag - imag * g_real).sum(-1)


def _backward_fake(g_real: Tensor, g_imag: Tensor, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
    return real.new_empty(real.shape[:-1]), imag.new_empty(imag.shape[:-1])


_backward = derivative_operator("powers_backward", _backward_kernel, _backward_fake, plain=_backward_kernel)


def _keep(ctx, inputs: tuple[Tensor, Tensor, int], output: Pair) -> None:
    ctx.save_for_backward(*output)


def _derivative(ctx, *grad: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_backward(*grad, *ctx.saved_tensors), None


_powers = operator("powers", _kernel, _fake, plain=_kernel, keep=_keep, derivative=_derivative)


def powers(x: Pair, count: int) -> Pair:
    """x^0 ... x^(count - 1) along a new last axis, by doubling: a sine and a cosine cost as much as 20 products."""
    return _powers(*x, count)
