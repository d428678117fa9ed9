"""Sequences that end before their array does: which steps are their own, and sums and choices over those alone.

A mask (B, L, 1) is 1 at a sequence's own steps, which come first, and 0 behind; a mean over none of them is 0. It is
not bool: PyTorch's compiler makes C++ of padded bool arrays that does not compile.
Mirrored in models_jax/masks.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def own_steps(tokens: Tensor, padding: int, dtype: torch.dtype) -> Tensor:
    """(..., L) whole numbers -> the mask (B, L, 1) of all sequences, one after the other."""
    return (tokens != padding).reshape(-1, tokens.shape[-1], 1).to(dtype)


def silenced(x: Tensor, mask: Tensor) -> Tensor:
    """x (B, L, H), zero where the sequence has ended."""
    return x * mask.to(x.dtype)


def mean(x: Tensor, mask: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    return silenced(x, mask).sum(axis) / mask.sum(axis).clamp(min=1.0).to(x.dtype)


def last(x: Tensor, mask: Tensor) -> Tensor:
    """(B, L, H) -> (B, H): each sequence's last own step, the first one of an empty sequence."""
    index = mask.sum(1, keepdim=True).clamp(min=1.0).long() - 1
    return torch.take_along_dim(x, index, 1)[:, 0]


def in_groups(x: Tensor, size: int) -> Tensor:
    """(B, L, H) -> (B, groups, size, H), the last group filled up with zeros."""
    rest = -x.shape[1] % size
    return (F.pad(x, (0, 0, 0, rest)) if rest else x).unflatten(1, (-1, size))


def pooled(mask: Tensor, size: int) -> Tensor:
    """The mask of groups of ``size`` steps: a group counts if any of its steps does."""
    return mask if size == 1 else in_groups(mask, size).amax(2)
