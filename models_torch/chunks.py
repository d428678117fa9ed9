"""Linear recurrences by matrix products within chunks of time and the states from chunk to chunk.

Work grows with the length alone, and matrix products do most of it; a transform's logarithm is not paid. Differentiated
by PyTorch itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models_torch.pairs import Pair, multiply, powers
from models_torch.scan import complex_view, linear_scan, real_view
from ssm.algorithms import CHUNK


def toeplitz(taps: Tensor) -> Tensor:
    """(..., T) -> (..., T, T), M[i, j] = taps[i - j] for j <= i, else 0: M u is the causal convolution."""
    size = taps.shape[-1]
    # rows of a length one short of the period start one tap earlier each: the matrix without any index
    period = F.pad(taps, (0, size)).repeat(*[1] * (taps.ndim - 1), size)
    return period[..., : size * (2 * size - 1)].unflatten(-1, (size, 2 * size - 1))[..., :size].mT


def into_chunks(x: Tensor, size: int) -> Tensor:
    """(B, L, M) -> (M, B C, size), zeros behind the end: time last, as the products want it."""
    batch, length, features = x.shape
    count = -(-length // size)
    return F.pad(x.permute(2, 0, 1), (0, count * size - length)).reshape(features, batch * count, size)


def out_of_chunks(x: Tensor, batch: int, length: int) -> Tensor:
    """The inverse of ``into_chunks``."""
    return x.view(len(x), batch, -1)[..., :length].permute(1, 2, 0)


def entering(a: Pair, ends: Tensor, batch: int) -> Tensor:
    """The state that enters each chunk, from what each adds: a (M, S) over a whole chunk, ends (M, B C, 2 S) -> same.

    Real and imaginary parts in pairs, as in ``scan.real_view``.
    """
    features, _, double = ends.shape
    pairs = ends.view(features, batch, -1, double).permute(1, 2, 0, 3)  # (B, C, M, 2 S)
    states = linear_scan(torch.complex(*a).flatten(), pairs.flatten(2))
    before = F.pad(states, (0, 0, 1, -1)).view(pairs.shape)
    return before.permute(2, 0, 1, 3).reshape(ends.shape)


def chunked_convolve(u: Tensor, root: Pair, factor: Pair) -> Tensor:
    """y_l = Re sum_n factor_n x_{l,n}, where x_{l,n} = root_n x_{l-1,n} + u_l.

    u (B, L, H); root and factor (H, S) -> (B, L, H).
    """
    batch, length, _ = u.shape
    real, imag = powers(root, CHUNK + 1)  # (H, S, T + 1)
    late = multiply((factor[0][..., None], factor[1][..., None]), (real, imag))
    taps = late[0][..., :-1].sum(-2)  # the kernel's first steps, within a chunk
    enter = torch.stack([real, imag], -1)[..., :-1, :].flip(-2).transpose(1, 2).flatten(2)  # (H, T, 2 S)
    read = torch.stack([late[0], -late[1]], -1)[..., 1:, :].transpose(2, 3).flatten(1, 2)  # (H, 2 S, T)
    inputs = into_chunks(u, CHUNK)
    states = entering((real[..., -1], imag[..., -1]), inputs @ enter, batch)
    return out_of_chunks(torch.baddbmm(inputs @ toeplitz(taps).mT, states, read), batch, length)


def chunked_scan(a: Tensor, b: Tensor) -> Tensor:
    """x_l = a x_{l-1} + b_l from x = 0: a (S,) complex, b (B, L, 2 S) real, laid out by ``scan.real_view`` -> same."""
    batch, length, double = b.shape
    real, imag = powers((a.real, a.imag), CHUNK + 1)  # (S, T + 1)
    within = toeplitz(torch.stack([real, imag])[..., :-1]).mT  # (2, S, T, T), from a step to the later ones
    # from a step's real and imaginary part to a later step's, both in pairs: (S, T, 2, T, 2)
    turn = torch.stack([torch.stack([within[0], within[1]], -1), torch.stack([-within[1], within[0]], -1)], 2)
    inputs = torch.view_as_real(into_chunks(complex_view(b), CHUNK)).flatten(2)  # (S, B C, 2 T)
    x = inputs @ turn.reshape(double // 2, 2 * CHUNK, 2 * CHUNK)
    states = entering((real[:, -1:], imag[:, -1:]), x[..., -2:], batch)  # (S, B C, 2)
    spread = torch.stack([torch.stack([real, imag], -1), torch.stack([-imag, real], -1)], 1)[:, :, 1:]  # (S, 2, T, 2)
    x = torch.baddbmm(x, states, spread.flatten(2))
    return real_view(out_of_chunks(complex_view(x), batch, length))
