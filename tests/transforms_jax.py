"""What JAX's transforms should give of a function: checks by name, each of which raises if it is wrong.

The truth is central differences of the function itself in float64, along one direction of all values. Mirrors
transforms_torch.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from cases import QUICK
from flax import nnx
from jax import Array
from jax.flatten_util import ravel_pytree

STEP = 1e-5
BOUND = 1e-6
Values = dict[str, Array]
jit = partial(jax.jit, compiler_options=QUICK)


class Problem:
    """y = function(values), and a direction in which to move the values; ``first`` names a small one."""

    def __init__(self, function: Callable[[Values], Array], values: Values, first: str) -> None:
        drawn = np.random.default_rng(1)
        self.function, self.values, self.first = function, values, first
        self.along = {name: jnp.asarray(drawn.standard_normal(value.shape)) for name, value in values.items()}
        self.compiled = jit(function)  # for the truth; JAX takes compiler options at the outermost jit alone
        self.sent = jnp.asarray(drawn.standard_normal(self.compiled(values).shape))
        self.gradient = jit(lambda values: flat(jax.grad(self.loss)(values)))

    def __call__(self, values: Values) -> Array:
        return self.function(values)

    def of_first(self, value: Array) -> Array:
        return self(self.values | {self.first: value})

    def loss(self, values: Values) -> Array:
        """A number that is linear in nothing."""
        return (jnp.sin(self(values)) * self.sent).sum()

    def moved(self, by: float, only: str | None = None) -> Values:
        names = self.values if only is None else [only]
        return self.values | {name: self.values[name] + by * self.along[name] for name in names}

    def difference(self, function: Callable[[Values], Array], only: str | None = None) -> Array:
        """The derivative of function(values) along the direction."""
        ahead, behind = (function(self.moved(by, only)) for by in (STEP, -STEP))
        return (ahead - behind) / (2.0 * STEP)


def of_module(module: nnx.Module, x: Array, call: Callable = lambda module, x: module(x)) -> Problem:
    """Its parameters by name and its input, which is one of the values unless it is whole numbers."""
    graph, state, rest = nnx.split(module, nnx.Param, ...)
    parameters = {".".join(map(str, path)): value[...] for path, value in nnx.to_flat_state(state)}
    paths = [path for path, _ in nnx.to_flat_state(state)]

    def function(values: Values) -> Array:
        given = [(path, nnx.Param(values[name])) for path, name in zip(paths, parameters, strict=True)]
        whole = nnx.merge(graph, nnx.from_flat_state(given), rest, copy=True)
        return call(whole, values.get("input", x))

    if not jnp.issubdtype(x.dtype, jnp.floating):
        return Problem(function, parameters, min(parameters, key=len))
    return Problem(function, parameters | {"input": x}, "input")


def flat(tree) -> Array:
    return ravel_pytree(tree)[0]


def close(found: Array, truth: Array) -> None:
    assert found.shape == truth.shape
    assert jnp.abs(truth).max() > 1e-6, "nothing to see"
    error = float(jnp.abs(found - truth).max() / jnp.abs(truth).max())
    assert error < BOUND, f"off by {error}"


def check_jvp(p: Problem) -> None:
    y, pushed = jit(lambda values, along: jax.jvp(p, (values,), (along,)))(p.values, p.along)
    close(y, p.compiled(p.values))
    close(pushed, p.difference(p.compiled))


def check_linearize(p: Problem) -> None:
    made = jit(lambda values, along: jax.linearize(p, values)[1](along))(p.values, p.along)
    close(made, p.difference(p.compiled))


def check_vjp(p: Problem) -> None:
    """<v, J u> = <J^T v, u>, J u by central differences."""
    pulled = jit(lambda values, sent: flat(jax.vjp(p, values)[1](sent)[0]))(p.values, p.sent)
    close(pulled @ flat(p.along), (p.sent * p.difference(p.compiled)).sum())


def check_jacobian(jacobian: Callable) -> Callable[[Problem], None]:
    def check(p: Problem) -> None:
        value, along = p.values[p.first], p.along[p.first]
        made = jit(jacobian(p.of_first))(value)
        close(jnp.tensordot(made, along, along.ndim), p.difference(p.compiled, p.first))

    return check


def check_hessian(p: Problem) -> None:
    value, along = p.values[p.first], p.along[p.first]
    made = jit(jax.hessian(lambda x: p.loss(p.values | {p.first: x})))(value)
    pulled = jit(jax.grad(lambda values: p.loss(values)))
    truth = p.difference(lambda values: pulled(values)[p.first], p.first)
    close(jnp.tensordot(made, along, along.ndim), truth)


def check_vmap(p: Problem) -> None:
    """Over all values, the first one alone (its axis second), and all but the first."""
    all_moved = [p.moved(0.1 * i) for i in range(2)]
    stacked = {name: jnp.stack([one[name] for one in all_moved]) for name in p.values}
    axis = min(1, p.values[p.first].ndim)
    fixed = {p.first: p.values[p.first]}
    rest = {name: value for name, value in stacked.items() if name != p.first}

    def all_of_them(stacked: Values, first: Array, rest: Values) -> tuple[Array, ...]:
        alone = jax.vmap(p.of_first, in_axes=axis)(first)
        return (
            jax.vmap(p)(stacked),
            alone,
            jax.vmap(lambda rest: p(rest | fixed))(rest) if rest else alone,
        )

    made = jit(all_of_them)(stacked, jnp.moveaxis(stacked[p.first], 0, axis), rest)
    close(made[0], jnp.stack([p.compiled(one) for one in all_moved]))
    close(made[1], jnp.stack([p.compiled(p.values | {p.first: one[p.first]}) for one in all_moved]))
    if rest:
        close(made[2], jnp.stack([p.compiled(one | fixed) for one in all_moved]))


def check_vmap_of_grad(p: Problem) -> None:
    """Gradients of each of two, and the gradient of both together: of everything by everything."""
    all_moved = [p.moved(0.1 * i) for i in range(2)]
    stacked = {name: jnp.stack([one[name] for one in all_moved]) for name in p.values}
    truth = jnp.stack([p.gradient(one) for one in all_moved])
    close(jit(jax.vmap(lambda values: flat(jax.grad(p.loss)(values))))(stacked), truth)
    close(jit(lambda s: jax.vmap(flat)(jax.grad(lambda s: jax.vmap(p.loss)(s).sum())(s)))(stacked), truth)


def check_grad_of_grad(p: Problem) -> None:
    made = jit(jax.grad(lambda values: flat(jax.grad(p.loss)(values)) @ flat(p.along)))(p.values)
    close(flat(made), p.difference(p.gradient))


def check_checkpoint(p: Problem) -> None:
    close(flat(jit(jax.checkpoint(jax.grad(p.loss)))(p.values)), p.gradient(p.values))
    close(flat(jit(jax.grad(jax.checkpoint(p.loss)))(p.values)), p.gradient(p.values))


def check_compiled(p: Problem) -> None:
    close(p.compiled(p.values), p(p.values))


def check_of_compiled(p: Problem) -> None:
    run = jax.jit(p.function)
    close(jit(lambda values, along: jax.jvp(run, (values,), (along,))[1])(p.values, p.along), p.difference(p.compiled))
    close(jit(lambda values: flat(jax.grad(sent(p, run))(values)))(p.values), p.gradient(p.values))


def check_export(p: Problem) -> None:
    made = jax.export.export(jax.jit(p.function))(p.values)
    close(made.call(p.values), p.compiled(p.values))


def check_grad_of_export(p: Problem) -> None:
    made = jax.export.export(jax.jit(p.function))(p.values)
    close(jit(lambda values: flat(jax.grad(sent(p, made.call))(values)))(p.values), p.gradient(p.values))


def check_jvp_of_export(p: Problem) -> None:
    jax.jvp(jax.export.export(jax.jit(p.function))(p.values).call, (p.values,), (p.along,))


def check_export_of_jvp(p: Problem) -> None:
    made = jax.export.export(jax.jit(lambda values, along: jax.jvp(p, (values,), (along,))[1]))(p.values, p.along)
    close(made.call(p.values, p.along), p.difference(p.compiled))


def sent(p: Problem, run: Callable[[Values], Array]) -> Callable[[Values], Array]:
    return lambda values: (jnp.sin(run(values)) * p.sent).sum()


def check_in_training(p: Problem) -> None:
    """Of what the network gives: its statistics are a part of the function's own copy of it."""
    check_jvp(p)
    check_vjp(p)


def check_dtypes(p: Problem) -> None:
    with jax.numpy_dtype_promotion("strict"):
        p(p.values)


def check_ranks(p: Problem) -> None:
    with jax.numpy_rank_promotion("raise"):
        p(p.values)


CHECKS: dict[str, Callable] = {
    "jacfwd": check_jacobian(jax.jacfwd),
    "jacrev": check_jacobian(jax.jacrev),
    "jvp": check_jvp,
    "linearize": check_linearize,
    "vjp": check_vjp,
    "hessian": check_hessian,
    "vmap": check_vmap,
    "vmap_of_grad": check_vmap_of_grad,
    "grad_of_grad": check_grad_of_grad,
    "checkpoint": check_checkpoint,
    "compiled": check_compiled,
    "of_compiled": check_of_compiled,
    "export": check_export,
    "grad_of_export": check_grad_of_export,
    "jvp_of_export": check_jvp_of_export,
    "export_of_jvp": check_export_of_jvp,
    "in_training": check_in_training,
    "dtypes": check_dtypes,
    "ranks": check_ranks,
}
