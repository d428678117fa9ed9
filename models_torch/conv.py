"""Long convolutions by real transforms, with a derivative that shares them. Causal, or in both directions.

A few sequences are carried through all stages at a time, so that what is between the transforms stays in the cache;
the one array of the whole batch's size that is kept for the derivative is the input's transform.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models_torch.operators import derivative_operator, gradients, operator
from models_torch.pairs import powers
from models_torch.scan import complex_view, real_view
from ssm.lengths import transform_length

PIECE = 1 << 19  # elements of one stage of one piece: 2 MiB in float32


def pieces(u: Tensor, size: int) -> Iterator[slice]:
    """Slices of the batch whose transforms have about PIECE elements."""
    count = len(u) if u.is_cuda else max(1, PIECE // (u.shape[-1] * size))
    for start in range(0, len(u), count):
        yield slice(start, start + count)


def pad(u: Tensor, padded: Tensor) -> Tensor:
    """Writes u (b, L, H) as (b, H, L) before the zeros of ``padded`` (at least b, H, size)."""
    padded = padded[: len(u)]
    padded[..., : u.shape[1]] = u.mT
    return padded


def kernel_transform(k: Tensor, size: int) -> Tensor:
    """(1 or 2, H, L') -> (H, size // 2 + 1); a kernel that runs backwards in time is its transform's conjugate."""
    k_f = torch.fft.rfft(k, n=size)
    return k_f[0] if len(k) == 1 else k_f[0] + k_f[1].conj_physical()


def _kernel(u: Tensor, k: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    length = u.shape[1]
    size = transform_length(length + k.shape[-1] - 1)
    k_f = kernel_transform(k, size)
    padded = u.new_zeros(next(pieces(u, size)).stop, u.shape[2], size)
    u_f = k_f.new_empty(len(u), *k_f.shape)
    y = torch.empty_like(u, memory_format=torch.contiguous_format)
    for some in pieces(u, size):
        torch.fft.rfft(pad(u[some], padded), out=u_f[some])
        convolved = torch.fft.irfft(u_f[some] * k_f, n=size)[..., :length]
        torch.addcmul(convolved.mT, u[some], d, out=y[some])
    return y, u_f


def _fake(u: Tensor, k: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    size = transform_length(u.shape[1] + k.shape[-1] - 1)
    u_f = u.new_empty(u.shape[0], u.shape[2], size // 2 + 1, dtype=u.dtype.to_complex())
    return torch.empty_like(u, memory_format=torch.contiguous_format), u_f


def _plain(u: Tensor, k: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    length = u.shape[1]
    size = transform_length(length + k.shape[-1] - 1)
    u_f, k_f = torch.fft.rfft(u.mT, n=size), torch.fft.rfft(k, n=size)
    # conj, as torch.vmap has no rule for conj_physical; the kernels cannot have it: compiled code is blind to its mark
    k_f = k_f[0] if len(k) == 1 else k_f[0] + k_f[1].conj()
    convolved = torch.fft.irfft(u_f * k_f, n=size)[..., :length]
    return (convolved.mT + u * d).contiguous(), u_f.detach()


def _backward_kernel(grad: Tensor, u: Tensor, u_f: Tensor, k: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    length = grad.shape[1]
    size = transform_length(length + k.shape[-1] - 1)
    k_f = kernel_transform(k, size).conj_physical()
    padded = u.new_zeros(next(pieces(u, size)).stop, u.shape[2], size)
    d_u = torch.empty_like(u, memory_format=torch.contiguous_format)
    d_k, d_d = torch.zeros_like(k_f), torch.zeros_like(d)
    for some in pieces(grad, size):
        grad_f = torch.fft.rfft(pad(grad[some], padded))
        back = torch.fft.irfft(grad_f * k_f, n=size)[..., :length]
        torch.addcmul(back.mT, grad[some], d, out=d_u[some])
        d_d += torch.linalg.vecdot(grad[some].flatten(0, 1), u[some].flatten(0, 1), dim=0)
        # conj(u_f) grad_f summed over the batch, as the conjugate of u_f conj(grad_f)
        for one, other in zip(u_f[some], grad_f.conj_physical_(), strict=True):
            d_k.addcmul_(one, other)
    d_k = d_k[None].conj_physical() if len(k) == 1 else torch.stack([d_k.conj_physical(), d_k])
    return d_u, torch.fft.irfft(d_k, n=size)[..., : k.shape[-1]].contiguous(), d_d


def _backward_fake(grad: Tensor, u: Tensor, u_f: Tensor, k: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_k = torch.empty_like(k, memory_format=torch.contiguous_format)
    return torch.empty_like(u, memory_format=torch.contiguous_format), d_k, torch.empty_like(d)


def _backward_plain(grad: Tensor, u: Tensor, u_f: Tensor, k: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return gradients(lambda u, k, d: _plain(u, k, d)[0], (u, k, d), (grad,))


_backward = derivative_operator("convolve_backward", _backward_kernel, _backward_fake, _backward_plain)


def _keep(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    u, k, d = inputs
    ctx.save_for_backward(u, output[1], k, d)
    ctx.mark_non_differentiable(output[1])


def _derivative(ctx, grad: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return _backward(grad, *ctx.saved_tensors)


_convolve = operator("convolve", _kernel, _fake, _plain, _keep, _derivative)


def transform_scan(a: Tensor, b: Tensor) -> Tensor:
    """x_l = a x_{l-1} + b_l from x = 0, each state's recurrence as a complex convolution with its powers.

    a (S,) complex, b (B, L, 2 S) real, laid out by ``scan.real_view`` -> the same. Differentiated by PyTorch itself.
    """
    length = b.shape[1]
    size = transform_length(2 * length - 1)
    kernel = torch.complex(*powers((a.real, a.imag), length))  # (S, L)
    b_f = torch.fft.fft(complex_view(b).mT.contiguous(), n=size)  # time last: transforms of strided columns are slow
    return real_view(torch.fft.ifft(b_f * torch.fft.fft(kernel, n=size))[..., :length].mT)


def convolve(u: Tensor, kernels: Tensor, d: Tensor) -> Tensor:
    """Convolves each channel with its kernel and adds the skip connection d u.

    y[b, l, h] = d[h] u[b, l, h] + sum_{j <= l} k[0, h, l - j] u[b, j, h] (+ sum_{j >= l} k[1, h, j - l] u[b, j, h]).
    u (B, L, H), kernels (1 or 2, H, L') forward and backward in time (lag 0 counts in both), d (H,), real -> (B, L, H).
    """
    return _convolve(u, kernels, d)[0]
