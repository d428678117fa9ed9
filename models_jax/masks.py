"""Sequences that end before their array does: which steps are their own, and sums and choices over those alone.

A mask (B, L, 1) is 1 at a sequence's own steps, which come first, and 0 behind; a mean over none of them is 0. It is
not bool: PyTorch's compiler makes C++ of padded bool arrays that does not compile.
Mirrored in models_torch/masks.py.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


def own_steps(tokens: Array, padding: int, dtype: DTypeLike) -> Array:
    """(..., L) whole numbers -> the mask (B, L, 1) of all sequences, one after the other."""
    return (tokens != padding).reshape(-1, tokens.shape[-1], 1).astype(dtype)


def silenced(x: Array, mask: Array) -> Array:
    """x (B, L, H), zero where the sequence has ended."""
    return x * mask.astype(x.dtype)


def mean(x: Array, mask: Array, axis: int | tuple[int, ...]) -> Array:
    return silenced(x, mask).sum(axis) / mask.sum(axis).clip(min=1.0).astype(x.dtype)


def last(x: Array, mask: Array) -> Array:
    """(B, L, H) -> (B, H): each sequence's last own step, the first one of an empty sequence."""
    index = mask.sum(1, keepdims=True).clip(min=1.0).astype(jnp.int32) - 1
    return jnp.take_along_axis(x, index, 1)[:, 0]


def in_groups(x: Array, size: int) -> Array:
    """(B, L, H) -> (B, groups, size, H), the last group filled up with zeros."""
    filled = jnp.pad(x, ((0, 0), (0, -x.shape[1] % size), (0, 0)))
    return filled.reshape(x.shape[0], -1, size, x.shape[2])


def pooled(mask: Array, size: int) -> Array:
    """The mask of groups of ``size`` steps: a group counts if any of its steps does."""
    return mask if size == 1 else in_groups(mask, size).max(2)
