"""The train step and its relatives as functions of a module and a batch. Mirrors models_jax/functional.py.

Much shorter than there: PyTorch's modules hold their parameters, and its AdamW is used as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from settings.problem import NO_TARGET

Pair = tuple[Tensor, Tensor]
Network = Callable[[Tensor], Tensor]


def train(
    network: Network,
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, Tensor],
    clip_norm: float | None,
    batch: Pair,
    dtype: torch.dtype,
    parts: int = 1,
) -> Tensor:
    """One optimiser step in place -> (mean loss, hits), not waited for. parts: of the batch, one after the other."""
    optimiser.zero_grad(set_to_none=True)
    if parts == 1:
        losses, correct = rows(network(batch[0]), batch[1], dtype)
        loss = losses.mean()
        loss.backward()
    else:
        loss, correct = accumulated(network, batch, dtype, parts)
    if clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(parameters.values(), clip_norm)
    optimiser.step()
    return torch.stack((loss.detach(), correct.sum()))


def accumulated(network: Network, batch: Pair, dtype: torch.dtype, parts: int) -> Pair:
    """The batch's gradients, part after part: mean loss, and each row's hits."""
    total, hits = torch.zeros((), dtype=dtype, device=batch[0].device), []
    for inputs, targets in zip(batch[0].chunk(parts), batch[1].chunk(parts), strict=True):
        losses, correct = rows(network(inputs), targets, dtype)
        loss = losses.mean() / parts
        loss.backward()
        total = total + loss.detach()
        hits.append(correct)
    return total, torch.cat(hits)


def evaluate(network: Network, batch: Pair, count: int, dtype: torch.dtype) -> Tensor:
    """Sums of loss and hits over the first ``count`` rows; the rest is padding."""
    losses, correct = rows(network(batch[0]), batch[1], dtype)
    return torch.stack((losses[:count].sum(), correct[:count].sum()))


def rows(logits: Tensor, targets: Tensor, dtype: torch.dtype) -> Pair:
    """Cross-entropy and hits of each row, (B,): logits (B, K) and targets (B,), or (B, L, K) and one a step, (B, L).

    Of a row's steps the mean, over those that have a target; a row without any counts as 0.
    """
    logits = logits.to(dtype)
    hits = (logits.argmax(-1) == targets).to(dtype)
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, reduction="none"), hits
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=NO_TARGET)
    own = (targets != NO_TARGET).to(dtype)
    count = own.sum(1).clamp(min=1.0)
    return losses.sum(1) / count, (hits * own).sum(1) / count
