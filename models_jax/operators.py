"""Operators with a derivative of their own, in both directions: what jax.custom_vjp refuses, forward mode, is right.

The tangent, a linear function of the arguments' tangents, is one step of the program (a primitive) that knows its own
transpose, the hand-written backward pass. jax.grad takes that; jax.jvp takes the tangent itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

linear_p = Primitive("ssm_bench_linear")
linear_p.multiple_results = True


def operator(forward: Callable, tangent: Callable, backward: Callable, numbers: int = 0) -> Callable:
    """A function of arrays behind ``numbers`` leading arguments that are no arrays.

    forward(*numbers, *inputs) -> output, residuals; tangent(*numbers, residuals, tangents) -> the output's tangent;
    backward(*numbers, residuals, grad) -> the inputs' gradients, the transpose of ``tangent``.
    """

    @partial(jax.custom_jvp, nondiff_argnums=range(numbers))
    def call(*inputs: Any) -> Any:
        return forward(*inputs)[0]

    @call.defjvp
    def _(*arguments: Any) -> tuple[Any, Any]:
        *first, primals, tangents = arguments
        output, residuals = forward(*first, *primals)
        return output, linear(partial(tangent, *first), partial(backward, *first), residuals, tangents)

    return call


def linear(tangent: Callable, backward: Callable, residuals: Any, tangents: Any) -> Any:
    """tangent(residuals, tangents), to be transposed by backward(residuals, grad)."""
    fixed, of_fixed = jax.tree.flatten(residuals)
    moved, of_moved = jax.tree.flatten(tangents)
    of_output = jax.tree.structure(jax.eval_shape(tangent, residuals, tangents))

    def forwards(fixed: list, moved: list) -> list:
        return jax.tree.leaves(tangent(of_fixed.unflatten(fixed), of_moved.unflatten(moved)))

    def backwards(fixed: list, grad: list) -> list:
        return jax.tree.leaves(backward(of_fixed.unflatten(fixed), of_output.unflatten(grad)))

    made = linear_p.bind(*fixed, *moved, forwards=forwards, backwards=backwards, count=len(fixed))
    return of_output.unflatten(made)


def _value(*operands: Any, forwards: Callable, backwards: Callable, count: int) -> list:
    return forwards(list(operands[:count]), list(operands[count:]))


def _shapes(*operands: Any, **how: Any) -> list:
    made = jax.eval_shape(partial(_value, **how), *operands)
    return [jax.core.ShapedArray(one.shape, one.dtype) for one in made]


def _transpose(grad: list, *operands: Any, forwards: Callable, backwards: Callable, count: int) -> list:
    fixed, moved = operands[:count], operands[count:]
    grad = [jnp.zeros(g.aval.shape, g.aval.dtype) if type(g) is ad.Zero else g for g in grad]
    unknown = [ad.is_undefined_primal(x) for x in moved]
    sent = backwards(list(fixed), grad)
    return [None] * count + [g if wanted else None for g, wanted in zip(sent, unknown, strict=True)]


def _again(primals: tuple, tangents: tuple, **how: Any) -> tuple[list, list]:
    """Of second order: what JAX makes of the tangent function."""
    tangents = [
        jnp.zeros(x.shape, x.dtype) if type(t) is ad.Zero else t for x, t in zip(primals, tangents, strict=True)
    ]
    return jax.jvp(partial(_value, **how), primals, tuple(tangents))


def _batch(operands: tuple, axes: tuple, *, forwards: Callable, backwards: Callable, count: int) -> tuple[list, list]:
    size = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    spread = [
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes, strict=True)
    ]
    how = {"forwards": jax.vmap(forwards), "backwards": jax.vmap(backwards), "count": count}
    made = linear_p.bind(*spread, **how)
    return made, [0] * len(made)


linear_p.def_impl(_value)
linear_p.def_abstract_eval(_shapes)
mlir.register_lowering(linear_p, mlir.lower_fun(_value, multiple_results=True))
ad.primitive_transposes[linear_p] = _transpose
ad.primitive_jvps[linear_p] = _again
batching.primitive_batchers[linear_p] = _batch
