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
        self.sent = jnp.asarray(drawn.standard_normal(jax.eval_shape(function, values).shape))
        self.program = jit(self.pushed_and_pulled)

    def __call__(self, values: Values) -> Array:
        return self.function(values)

    def pushed_and_pulled(self, values: Values) -> tuple[Array, Array, Array]:
        """y, its tangent and the loss' gradient: one program, as compiling takes the time."""
        y, pushed = jax.jvp(self, (values,), (self.along,))
        return y, pushed, flat(jax.grad(self.loss)(values))

    def compiled(self, values: Values) -> Array:
        return self.program(values)[0]

    def gradient(self, values: Values) -> Array:
        return self.program(values)[2]

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
    close(p.program(p.values)[1], p.difference(p.compiled))


def check_linearize(p: Problem) -> None:
    made = jit(lambda values, along: jax.linearize(p, values)[1](along))(p.values, p.along)
    close(made, p.difference(p.compiled))


def check_vjp(p: Problem) -> None:
    """<v, J u> = <J^T v, u>, with v the loss' gradient in y, and J u by central differences and by jvp."""
    y, pushed, pulled = p.program(p.values)
    sent = jnp.cos(y) * p.sent
    close(pulled @ flat(p.along), (sent * p.difference(p.compiled)).sum())
    close(pulled @ flat(p.along), (sent * pushed).sum())


def check_jacobian(jacobian: Callable) -> Callable[[Problem], None]:
    def check(p: Problem) -> None:
        value, along = p.values[p.first], p.along[p.first]
        made = jit(jacobian(p.of_first))(value)
        close(jnp.tensordot(made, along, along.ndim), p.difference(p.compiled, p.first))

    return check


def check_hessian(p: Problem) -> None:
    value, along = p.values[p.first], p.along[p.first]
    made = jit(jax.hessian(lambda x: p.loss(p.values | {p.first: x})))(value)
    unravel = ravel_pytree(p.values)[1]
    truth = p.difference(lambda values: unravel(p.gradient(values))[p.first], p.first)
    close(jnp.tensordot(made, along, along.ndim), truth)


def check_vmap(p: Problem) -> None:
    """Over all values, the first one alone (its axis second)."""
    all_moved = [p.moved(0.1 * i) for i in range(2)]
    stacked = {name: jnp.stack([one[name] for one in all_moved]) for name in p.values}
    axis = min(1, p.values[p.first].ndim)
    alone = jnp.moveaxis(stacked[p.first], 0, axis)
    close(jit(jax.vmap(p))(stacked), jnp.stack([p.compiled(one) for one in all_moved]))
    truth = jnp.stack([p.compiled(p.values | {p.first: one[p.first]}) for one in all_moved])
    close(jit(jax.vmap(p.of_first, in_axes=axis))(alone), truth)


def check_vmap_of_grad(p: Problem) -> None:
    """Gradients of each of two, which are also that of both together: of everything by everything."""
    all_moved = [p.moved(0.1 * i) for i in range(2)]
    stacked = {name: jnp.stack([one[name] for one in all_moved]) for name in p.values}

    def both(stacked: Values) -> tuple[Array, Array]:
        each = jax.vmap(jax.grad(p.loss))(stacked)
        return jax.vmap(flat)(each), jax.vmap(flat)(jax.grad(lambda s: jax.vmap(p.loss)(s).sum())(stacked))

    for made in jit(both)(stacked):
        close(made, jnp.stack([p.gradient(one) for one in all_moved]))


def check_grad_of_grad(p: Problem) -> None:
    made = jit(jax.grad(lambda values: flat(jax.grad(p.loss)(values)) @ flat(p.along)))(p.values)
    close(flat(made), p.difference(p.gradient))


def check_checkpoint(p: Problem) -> None:
    close(flat(jit(jax.grad(jax.checkpoint(p.loss)))(p.values)), p.gradient(p.values))


def check_compiled(p: Problem) -> None:
    close(p.compiled(p.values), p(p.values))


def check_of_compiled(p: Problem) -> None:
    run = jax.jit(p.function)

    def both(values: Values) -> tuple[Array, Array]:
        return jax.jvp(run, (values,), (p.along,))[1], flat(jax.grad(sent(p, run))(values))

    pushed, pulled = jit(both)(p.values)
    close(pushed, p.difference(p.compiled))
    close(pulled, p.gradient(p.values))


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
