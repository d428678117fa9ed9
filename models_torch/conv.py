"""Long convolutions by real transforms, with a derivative that shares them. Causal, or in both directions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssm.lengths import transform_length


class _Convolution(torch.autograd.Function):
    """y[b, h, l] = sum_{j <= l} k[0, h, l - j] u[b, h, j] (+ sum_{j >= l} k[1, h, j - l] u[b, h, j])."""

    @staticmethod
    def forward(ctx, u: Tensor, k: Tensor) -> Tensor:
        size = transform_length(u.shape[-1] + k.shape[-1] - 1)
        u_f, k_f = torch.fft.rfft(u, n=size), torch.fft.rfft(k, n=size)
        # a kernel that runs backwards in time is its transform's conjugate
        k_f = k_f[0] if len(k) == 1 else k_f[0] + k_f[1].conj()
        ctx.save_for_backward(u_f, k_f)
        ctx.size, ctx.length, ctx.taps, ctx.directions = size, u.shape[-1], k.shape[-1], len(k)
        return torch.fft.irfft(u_f * k_f, n=size)[..., : ctx.length]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        u_f, k_f = ctx.saved_tensors
        grad_f = torch.fft.rfft(grad, n=ctx.size)
        d_u = torch.fft.irfft(grad_f * k_f.conj(), n=ctx.size)[..., : ctx.length]
        d_k = torch.linalg.vecdot(u_f, grad_f, dim=0)
        d_k = d_k[None] if ctx.directions == 1 else torch.stack([d_k, d_k.conj()])
        return d_u, torch.fft.irfft(d_k, n=ctx.size)[..., : ctx.taps]


def convolve(u: Tensor, kernels: Tensor) -> Tensor:
    """Convolves each channel with its kernel.

    u (B, H, L) real; kernels (1 or 2, H, L') real, forward and backward in time (lag 0 counts in both) -> (B, H, L).
    """
    return _Convolution.apply(u, kernels)
