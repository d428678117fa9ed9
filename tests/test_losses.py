"""Cross-entropy and hits of a batch in both frameworks, against NumPy: one target a sequence, and one a step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from models_jax import functional as jax_functional
from models_torch import functional as torch_functional
from settings.problem import NO_TARGET

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((3, 5, 4))
TARGETS = np.array([[0, 1, 2, 3, 0], [2, NO_TARGET, 1, NO_TARGET, NO_TARGET], [NO_TARGET] * 5])


def truth(logits, targets):
    """Row by row, step by step."""
    losses, hits = [], []
    for row, own in zip(logits, targets, strict=True):
        pairs = [(step, target) for step, target in zip(row, own, strict=True) if target != NO_TARGET]
        losses.append(np.mean([np.log(np.exp(step).sum()) - step[target] for step, target in pairs] or [0.0]))
        hits.append(np.mean([step.argmax() == target for step, target in pairs] or [0.0]))
    return np.array(losses), np.array(hits)


def in_torch(logits, targets):
    logits = torch.tensor(logits, requires_grad=True)
    losses, hits = torch_functional.rows(logits, torch.tensor(targets), torch.float64)
    losses.sum().backward()
    return losses.detach().numpy(), hits.numpy(), logits.grad.numpy()


def in_jax(logits, targets):
    def total(logits):
        losses, hits = jax_functional.rows(logits, jnp.asarray(targets), jnp.float64)
        return losses.sum(), (losses, hits)

    gradient, (losses, hits) = jax.grad(total, has_aux=True)(jnp.asarray(logits))
    return losses, hits, gradient


@pytest.mark.parametrize("rows", [in_torch, in_jax])
def test_a_target_a_step_counts_where_there_is_one(rows):
    losses, hits, gradient = rows(LOGITS, TARGETS)
    np.testing.assert_allclose(losses, truth(LOGITS, TARGETS)[0], rtol=1e-12)
    np.testing.assert_allclose(hits, truth(LOGITS, TARGETS)[1], rtol=1e-12)
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    own = (TARGETS != NO_TARGET)[..., None]
    expected = own * (shares - np.eye(4)[TARGETS]) / np.maximum(own.sum(1, keepdims=True), 1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("rows", [in_torch, in_jax])
def test_a_target_a_sequence(rows):
    targets = np.array([3, 0, 1])
    losses, hits, _ = rows(LOGITS[:, 0], targets)
    expected = truth(LOGITS[:, :1], targets[:, None])
    np.testing.assert_allclose(losses, expected[0], rtol=1e-12)
    np.testing.assert_array_equal(hits, expected[1])
