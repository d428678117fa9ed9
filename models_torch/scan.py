"""The linear recurrence x_l = a x_{l-1} + b_l over a whole sequence, in chunks, with its exact derivative."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssm.lengths import chunk_length


def scan_chunks(a: Tensor, b: Tensor, reverse: bool) -> Tensor:
    """The scan itself: sequential within all chunks at once, then over the chunks' last states, then those spread."""
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


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, reverse: bool) -> Tensor:
        x = scan_chunks(a, b, reverse)
        ctx.save_for_backward(a, x)
        ctx.reverse = reverse
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        a, x = ctx.saved_tensors
        # the adjoint recurrence runs the other way with the conjugate of a
        d_b = scan_chunks(a.conj().resolve_conj(), grad, not ctx.reverse)
        here, before = (slice(None, -1), slice(1, None)) if ctx.reverse else (slice(1, None), slice(None, -1))
        d_a = (x[:, before].conj() * d_b[:, here]).sum((0, 1))
        return d_a, d_b, None


def linear_scan(a: Tensor, b: Tensor, reverse: bool = False) -> Tensor:
    """x_l = a x_{l-1} + b_l from x = 0, or from the end when ``reverse``: a (S,), b (B, L, S) complex -> (B, L, S)."""
    return _Scan.apply(a, b, reverse)
