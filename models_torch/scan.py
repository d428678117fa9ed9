"""The linear recurrence x_l = a x_{l-1} + b_l over a whole sequence, in chunks, with its exact derivative.

The sequences come and go as real numbers, as the matrix products around need and give them; a few of them are carried
through all stages at a time, so that what is between stays in the cache.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from models_torch.operators import derivative_operator, operator
from ssm.lengths import chunk_length

PIECE = 1 << 19  # elements of the sequences that are scanned together: 4 MiB of complex64


def real_view(matrix: Tensor) -> Tensor:
    """(..., S) complex -> (..., 2 S) real: real and imaginary parts in pairs, as complex numbers are stored."""
    return torch.view_as_real(matrix.resolve_conj()).flatten(-2)


def complex_view(pairs: Tensor) -> Tensor:
    """(..., 2 S) real -> (..., S) complex, the inverse of ``real_view``."""
    return torch.view_as_complex(pairs.contiguous().unflatten(-1, (-1, 2)))


def neighbours(reverse: bool) -> tuple[slice, slice]:
    """Where the steps with a step before them are, and those before."""
    return (slice(None, -1), slice(1, None)) if reverse else (slice(1, None), slice(None, -1))


def scan_all(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    """The scan, a few sequences at a time."""
    x = torch.empty_like(b, memory_format=torch.contiguous_format)
    count = len(b) if b.is_cuda else max(1, PIECE // (b.shape[1] * b.shape[2]))
    for start in range(0, len(b), count):
        x[start : start + count] = scan_chunks(a, b[start : start + count], reverse)
    return x


def scan_chunks(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    """Sequential within all chunks at once, then over the chunks' last states, then those spread."""
    batch, length, states = b.shape
    size = chunk_length(length)
    chunks = -(-length // size)
    x = b.new_zeros(batch, chunks * size, states)
    x[:, :length] = b
    x = x.view(batch, chunks, size, states)
    inner, outer = list(range(size)), list(range(chunks))
    if reverse:
        inner.reverse()
        outer.reverse()
    for before, here in pairwise(inner):
        x[:, :, here].addcmul_(a, x[:, :, before])
    power = torch.cumprod(a.expand(size, states), 0)  # a^1 ... a^size
    carry = x[:, :, inner[-1]].clone()
    for before, here in pairwise(outer):
        carry[:, here].addcmul_(power[-1], carry[:, before])
    spread = power.flip(0) if reverse else power
    if chunks > 1:
        late, early = (slice(None, -1), slice(1, None)) if reverse else (slice(1, None), slice(None, -1))
        x[:, late].addcmul_(spread, carry[:, early, None])
    return x.view(batch, chunks * size, states)[:, :length]


def _kernel(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    return real_view(scan_all(a, complex_view(b), reverse))


def _fake(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    return torch.empty_like(b, memory_format=torch.contiguous_format)


def scan_by_doubling(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    """The scan, of complex numbers, out of place: sums over the last 1, 2, 4 ... steps."""
    x, step = b.flip(1) if reverse else b, 1
    while step < x.shape[1]:
        x = x + F.pad(a * x[:, :-step], (0, 0, step, 0))
        a, step = a * a, 2 * step
    return x.flip(1) if reverse else x


def _plain(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    return real_view(scan_by_doubling(a, complex_view(b), reverse)).contiguous()


def _backward_kernel(grad: Tensor, a: Tensor, x: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    # the adjoint recurrence runs the other way with the conjugate of a
    d_b = scan_all(a.conj_physical(), complex_view(grad), not reverse)
    here, before = neighbours(reverse)
    d_a = torch.zeros_like(a)
    for x_one, d_one in zip(complex_view(x), d_b, strict=True):  # a sequence at a time stays in the cache
        d_a += torch.linalg.vecdot(x_one[before], d_one[here], dim=0)
    return d_a, real_view(d_b)


def _backward_fake(grad: Tensor, a: Tensor, x: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(a), torch.empty_like(grad, memory_format=torch.contiguous_format)


def _backward_plain(grad: Tensor, a: Tensor, x: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    d_b = scan_by_doubling(a.conj(), complex_view(grad), not reverse)
    here, before = neighbours(reverse)
    return (complex_view(x)[:, before].conj() * d_b[:, here]).sum((0, 1)), real_view(d_b).contiguous()


_backward = derivative_operator("linear_scan_backward", _backward_kernel, _backward_fake, _backward_plain)


def _keep(ctx, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)
    ctx.reverse = inputs[2]


def _derivative(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_backward(grad, *ctx.saved_tensors, ctx.reverse), None


_linear_scan = operator("linear_scan", _kernel, _fake, _plain, _keep, _derivative)


def linear_scan(a: Tensor, b: Tensor, reverse: bool = False) -> Tensor:
    """x_l = a x_{l-1} + b_l from x = 0, or from the end when ``reverse``.

    a (S,) complex; b (B, L, 2 S) real, laid out as ``real_view`` does -> (B, L, 2 S), in the same layout.
    """
    return _linear_scan(a, b, reverse)
