"""The train step and its relatives as pure functions of plain dictionaries of arrays: what jax.jit sees.

nnx.split happens once, nnx.merge only while JAX traces: nnx.jit would add its own Python to every step.
Mirrors models_torch/functional.py, where modules hold their parameters and need less.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from settings.problem import NO_TARGET

Pair = tuple[jax.Array, jax.Array]
Tree = dict[str, jax.Array]


class Network:
    """The flax module as pure functions of plain dictionaries; its methods run while JAX traces."""

    def __init__(self, graphdef: Any, parameters: nnx.State, statistics: nnx.State, dtype: Any) -> None:
        self.graphdef, self.dtype = graphdef, dtype
        # Shapes only: the arrays themselves are donated by the first step.
        self.blank = tuple(
            jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), s) for s in (parameters, statistics)
        )

    def module(self, parameters: Tree, statistics: Tree) -> nnx.Module:
        states = [_filled(blank, values) for blank, values in zip(self.blank, (parameters, statistics), strict=True)]
        return nnx.merge(self.graphdef, *states)

    def logits(self, parameters: Tree, statistics: Tree, inputs: jax.Array) -> jax.Array:
        return self.module(parameters, statistics)(inputs)

    def train_logits(self, parameters: Tree, statistics: Tree, inputs: jax.Array, key: Any) -> tuple[jax.Array, Tree]:
        model = self.module(parameters, statistics)
        logits = model(inputs, training=True, key=key)
        return logits, arrays(nnx.state(model, nnx.BatchStat))

    def block_outputs(self, parameters: Tree, statistics: Tree, inputs: jax.Array) -> list[jax.Array]:
        return self.module(parameters, statistics).block_outputs(inputs, training=True)

    def discretised(self, parameters: Tree, statistics: Tree) -> Any:
        return self.module(parameters, statistics).discretised()

    def initial_state(self, parameters: Tree, statistics: Tree, batch_size: int) -> Any:
        return self.module(parameters, statistics).initial_state(batch_size)

    def step(
        self, parameters: Tree, statistics: Tree, inputs: jax.Array, state: Any, constants: Any
    ) -> tuple[jax.Array, Any]:
        return self.module(parameters, statistics).step(inputs, state, constants)


def train(
    network: Network,
    update: Any,
    parameters: Tree,
    statistics: Tree,
    moments: Any,
    key: Any,
    batch: Pair,
    scale: Any,
    parts: int = 1,
) -> tuple[Tree, Tree, Any, jax.Array]:
    """One optimiser step -> parameters, statistics, moments, (mean loss, hits). parts: of the batch, in turn."""
    key = jax.random.fold_in(key, moments["count"])  # another mask each step, the same ones each run

    def objective(
        parameters: Tree, statistics: Tree, batch: Pair, key: Any
    ) -> tuple[jax.Array, tuple[jax.Array, Tree]]:
        logits, after = network.train_logits(parameters, statistics, batch[0], key)
        losses, correct = rows(logits, batch[1], network.dtype)
        return losses.mean(), (correct.sum(), after)

    derived = jax.value_and_grad(objective, has_aux=True)
    if parts == 1:
        (loss, (correct, statistics)), gradients = derived(parameters, statistics, batch, key)
    else:
        loss, correct, statistics, gradients = accumulated(derived, parameters, statistics, batch, key, parts)
    parameters, moments = update(parameters, gradients, moments, scale)
    return parameters, statistics, moments, jnp.stack((loss, correct))


def accumulated(
    derived: Any, parameters: Tree, statistics: Tree, batch: Pair, key: Any, parts: int
) -> tuple[jax.Array, jax.Array, Tree, Tree]:
    """Mean loss, hits, statistics and gradients of the batch, part after part."""

    def one(carry: Any, part: Any) -> tuple[Any, None]:
        loss, correct, statistics, gradients = carry
        *own, number = part
        (more, (hits, statistics)), added = derived(parameters, statistics, tuple(own), jax.random.fold_in(key, number))
        gradients = jax.tree.map(lambda a, b: a + b / parts, gradients, added)
        return (loss + more / parts, correct + hits, statistics, gradients), None

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    none = jnp.zeros((), next(iter(parameters.values())).dtype)
    cut = tuple(array.reshape(parts, array.shape[0] // parts, *array.shape[1:]) for array in batch)
    (loss, correct, statistics, gradients), _ = jax.lax.scan(
        one, (none, none, statistics, zeros), (*cut, jnp.arange(parts))
    )
    return loss, correct, statistics, gradients


def update(
    parameters: Tree,
    gradients: Tree,
    moments: Any,
    scale: Any,
    *,
    optimiser: Any,
    ssm_names: frozenset[str],
) -> tuple[Tree, Any]:
    """torch.optim.AdamW's arithmetic, with clip_grad_norm_ before it; ``optimiser``: bench.framework.OptimiserSpec.

    Not optax.adamw: in float32 its bias correction 1 - beta2**count starts with a relative error of 5e-5.
    """
    if optimiser.clip_norm is not None:
        norm = jnp.sqrt(sum(jnp.vdot(gradient, gradient) for gradient in gradients.values()))
        factor = jnp.minimum(1.0, optimiser.clip_norm / (norm + 1e-6))
        gradients = {name: gradient * factor.astype(gradient.dtype) for name, gradient in gradients.items()}
    beta1, beta2, count = optimiser.beta1, optimiser.beta2, moments["count"] + 1
    first = {name: beta1 * moments["first"][name] + (1 - beta1) * value for name, value in gradients.items()}
    second = {name: beta2 * moments["second"][name] + (1 - beta2) * value**2 for name, value in gradients.items()}

    def correction(beta: float, dtype: Any) -> jax.Array:
        """1 - beta**count without the cancellation."""
        return -jnp.expm1(count.astype(dtype) * float(np.log(beta))) if beta > 0 else jnp.ones((), dtype)

    def moved(name: str) -> jax.Array:
        value = parameters[name]
        own, decay = optimiser.of(name, name in ssm_names)
        rate = jnp.asarray(scale * own, value.dtype)
        root = jnp.sqrt(second[name] / correction(beta2, value.dtype)) + optimiser.eps
        return value - rate * (first[name] / correction(beta1, value.dtype) / root + decay * value)

    return {name: moved(name) for name in parameters}, {"count": count, "first": first, "second": second}


def evaluate(network: Network, parameters: Tree, statistics: Tree, batch: Pair, count: Any) -> jax.Array:
    losses, correct = rows(network.logits(parameters, statistics, batch[0]), batch[1], network.dtype)
    valid = jnp.arange(losses.shape[0]) < count
    # where, not a product: padding that is not finite must not reach the sum.
    return jnp.stack((jnp.where(valid, losses, 0).sum(), jnp.where(valid, correct, 0).sum()))


def trace(network: Network, parameters: Tree, statistics: Tree, batch: Pair) -> tuple[Any, ...]:
    def objective(parameters: Tree) -> tuple[jax.Array, jax.Array]:
        logits, _ = network.train_logits(parameters, statistics, batch[0], None)
        return rows(logits, batch[1], network.dtype)[0].mean(), logits

    (loss, logits), gradients = jax.value_and_grad(objective, has_aux=True)(parameters)
    return network.block_outputs(parameters, statistics, batch[0]), logits, loss, gradients


def take(held: Pair, indices: jax.Array) -> Pair:
    return held[0][indices], held[1][indices]


def rows(logits: jax.Array, targets: jax.Array, dtype: Any) -> Pair:
    """Cross-entropy and hits of each row, (B,): logits (B, K) and targets (B,), or (B, L, K) and one a step, (B, L).

    Of a row's steps the mean, over those that have a target; a row without any counts as 0.
    """
    logits = logits.astype(dtype)
    hits = (logits.argmax(-1) == targets).astype(dtype)
    if targets.ndim == 1:
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets), hits
    own = targets != NO_TARGET
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(own, targets, 0))
    count = own.sum(1).clip(min=1).astype(dtype)
    return jnp.where(own, losses, 0).sum(1) / count, jnp.where(own, hits, 0).sum(1) / count


def arrays(state: nnx.State) -> Tree:
    """An nnx state -> plain arrays by dotted name."""
    return {".".join(map(str, path)): variable.get_value() for path, variable in nnx.to_flat_state(state)}


def _filled(blank: nnx.State, values: Tree) -> nnx.State:
    """An nnx state of the blank one's structure with the values of a plain dictionary."""
    flat = [(path, variable.replace(values[".".join(map(str, path))])) for path, variable in nnx.to_flat_state(blank)]
    return nnx.from_flat_state(flat)
