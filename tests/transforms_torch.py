"""What PyTorch's transforms should give of a function: checks by name, each of which raises if it is wrong.

The truth is central differences of the function itself, called plainly in float64, along one direction of all values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from torch.utils.checkpoint import checkpoint

STEP = 1e-5
BOUND = 1e-6
Values = dict[str, Tensor]


class Problem:
    """y = function(values), and a direction in which to move the values; ``first`` names a small one."""

    def __init__(self, function: Callable[[Values], Tensor], values: Values, first: str) -> None:
        drawn = torch.Generator().manual_seed(1)

        def random(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=drawn, dtype=like.dtype)

        self.function, self.values, self.first = function, values, first
        self.along = {name: random(value) for name, value in values.items()}
        self.sent = random(function(values))

    def __call__(self, values: Values) -> Tensor:
        return self.function(values)

    def of_first(self, value: Tensor) -> Tensor:
        return self(self.values | {self.first: value})

    def loss(self, values: Values) -> Tensor:
        """A number that is linear in nothing."""
        return (self(values).sin() * self.sent).sum()

    def moved(self, by: float, only: Iterable[str] | None = None) -> Values:
        names = self.values if only is None else only
        return self.values | {name: self.values[name] + by * self.along[name] for name in names}

    def difference(self, function: Callable[[Values], Tensor], only: Iterable[str] | None = None) -> Tensor:
        """The derivative of function(values) along the direction."""
        ahead, behind = (function(self.moved(by, only)) for by in (STEP, -STEP))
        return (ahead - behind).detach() / (2.0 * STEP)

    def gradient(self, values: Values) -> Tensor:
        """The loss' gradient by backward alone, in one row."""
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        return flat(torch.autograd.grad(self.loss(leaves), list(leaves.values())))

    def curvature(self, values: Values) -> Tensor:
        """The gradient's derivative along the direction."""
        moved = [{name: value + by * self.along[name] for name, value in values.items()} for by in (STEP, -STEP)]
        return (self.gradient(moved[0]) - self.gradient(moved[1])) / (2.0 * STEP)


def of_module(module: torch.nn.Module, x: Tensor) -> Problem:
    """Its parameters by name and its input, which is one of the values unless it is whole numbers."""
    parameters = {name: value.detach() for name, value in module.named_parameters()}
    if not x.is_floating_point():
        return Problem(lambda values: functional_call(module, values, (x,)), parameters, min(parameters, key=len))

    def function(values: Values) -> Tensor:
        return functional_call(module, {name: values[name] for name in parameters}, (values["input"],))

    return Problem(function, parameters | {"input": x}, "input")


def flat(tensors: Values | Iterable[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in (tensors.values() if isinstance(tensors, dict) else tensors)])


def close(found: Tensor, truth: Tensor) -> None:
    assert found.shape == truth.shape
    assert truth.abs().max() > 1e-6, "nothing to see"
    error = float((found - truth).abs().max() / truth.abs().max())
    assert error < BOUND, f"off by {error}"


def check_jvp(p: Problem) -> None:
    y, pushed = jvp(p, (p.values,), (p.along,))
    close(y, p(p.values))
    close(pushed, p.difference(p))


def check_linearize(p: Problem) -> None:
    close(linearize(p, p.values)[1](p.along), p.difference(p))


def check_forward_ad(p: Problem) -> None:
    """With values that want no gradient, and with ones that do, through the operators' own derivatives."""
    truth = p.difference(p)
    for wanted in (False, True):
        with forward_ad.dual_level():
            values = {name: value.clone().requires_grad_(wanted) for name, value in p.values.items()}
            y = p({name: forward_ad.make_dual(value, p.along[name]) for name, value in values.items()})
            close(forward_ad.unpack_dual(y).tangent.detach(), truth)


def check_vjp(p: Problem) -> None:
    """<v, J u> = <J^T v, u>, J u by central differences; and backward alone."""
    pulled = flat(vjp(p, p.values)[1](p.sent)[0])
    close(pulled @ flat(p.along), (p.sent * p.difference(p)).sum())
    close(p.gradient(p.moved(0.1)) @ flat(p.along), p.difference(lambda values: p.loss(further(p, values))))


def further(p: Problem, values: Values) -> Values:
    return {name: value + 0.1 * p.along[name] for name, value in values.items()}


def check_jacobian(jacobian: Callable) -> Callable[[Problem], None]:
    def check(p: Problem) -> None:
        value, along = p.values[p.first], p.along[p.first]
        made = jacobian(p.of_first)(value)
        close(torch.tensordot(made, along, along.ndim), p.difference(p, [p.first]))

    return check


def vectorised(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The backward pass of a batch of gradients."""
    return lambda x: torch.autograd.functional.jacobian(function, x, vectorize=True)


def check_hessian(p: Problem) -> None:
    value, along = p.values[p.first], p.along[p.first]
    made = torch.tensordot(hessian(lambda x: p.loss(p.values | {p.first: x}))(value), along, along.ndim)
    names = list(p.values)
    sizes = [p.values[name].numel() for name in names]
    truth = p.difference(p.gradient, [p.first]).split(sizes)[names.index(p.first)]
    close(made.flatten(), truth)


def check_vmap(p: Problem) -> None:
    """Over all values, the first one alone (its axis second), and all but the first."""
    all_moved = [p.moved(0.1 * i) for i in range(3)]
    stacked = {name: torch.stack([one[name] for one in all_moved]) for name in p.values}
    close(vmap(p)(stacked), torch.stack([p(one) for one in all_moved]))
    truth = torch.stack([p.of_first(one[p.first]) for one in all_moved])
    axis = min(1, p.values[p.first].ndim)
    close(vmap(p.of_first, in_dims=axis)(stacked[p.first].movedim(0, axis)), truth)
    rest = {name: value for name, value in stacked.items() if name != p.first}
    if rest:
        fixed = {p.first: p.values[p.first]}
        close(vmap(lambda rest: p(rest | fixed))(rest), torch.stack([p(one | fixed) for one in all_moved]))


def check_vmap_of_grad(p: Problem) -> None:
    """Gradients of each of three: of everything by everything."""
    all_moved = [p.moved(0.1 * i) for i in range(3)]
    made = vmap(grad(p.loss))({name: torch.stack([one[name] for one in all_moved]) for name in p.values})
    for index, one in enumerate(all_moved):
        close(flat({name: value[index] for name, value in made.items()}), p.gradient(one))


def check_grad_of_grad(p: Problem) -> None:
    made = grad(lambda values: flat(grad(p.loss)(values)) @ flat(p.along))(p.values)
    close(flat(made), p.curvature(p.values))


def check_create_graph(p: Problem) -> None:
    """Backward of backward of backward, by torch.autograd."""

    def second(values: Values) -> tuple[Tensor, list[Tensor]]:
        leaves = [value.clone().requires_grad_() for value in values.values()]
        first = torch.autograd.grad(p.loss(dict(zip(values, leaves, strict=True))), leaves, create_graph=True)
        return flat(torch.autograd.grad(flat(first) @ flat(p.along), leaves, create_graph=True)), leaves

    found, leaves = second(p.values)
    close(found.detach(), p.curvature(p.values))
    third = torch.autograd.grad(found @ flat(p.along), leaves)
    close(flat(third), p.difference(lambda values: second(values)[0]))


def check_checkpoint(p: Problem) -> None:
    """torch.utils.checkpoint of all: what the derivative takes anew is of the values given, not of the module's own."""

    def anew(values: Values) -> Tensor:
        return checkpoint(p, values, use_reentrant=False)

    leaves = {name: value.detach().requires_grad_() for name, value in p.moved(0.1).items()}
    made = torch.autograd.grad((anew(leaves).sin() * p.sent).sum(), list(leaves.values()))
    close(flat(made), p.gradient(p.moved(0.1)))


# Of models alone, as they take long. aot_eager: as the compiler traces and differentiates, without its machine code.


def compiled(function: Callable) -> Callable:
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True, dynamic=False)


def check_compiled(p: Problem) -> None:
    run = compiled(lambda values: p(values))
    leaves = {name: value.clone().requires_grad_() for name, value in p.values.items()}
    y = run(leaves)
    close(y.detach(), p(p.values))
    close(flat(torch.autograd.grad((y.sin() * p.sent).sum(), list(leaves.values()))), p.gradient(p.values))


def check_inside_compiled(p: Problem) -> None:
    close(compiled(lambda values, along: jvp(p, (values,), (along,))[1])(p.values, p.along), p.difference(p))
    made = compiled(lambda values: grad(p.loss)(values))(p.values)
    close(flat(made), p.gradient(p.values))


def check_of_compiled(p: Problem) -> None:
    jvp(compiled(lambda values: p(values)), (p.values,), (p.along,))


def check_dual_inside_compiled(p: Problem) -> None:
    def pushed(values: Values, along: Values) -> Tensor:
        with forward_ad.dual_level():
            y = p({name: forward_ad.make_dual(value, along[name]) for name, value in values.items()})
            return forward_ad.unpack_dual(y).tangent

    close(compiled(pushed)(p.values, p.along), p.difference(p))


def check_export(p: Problem) -> None:
    run = exported(p)
    close(run(p.values), p(p.values))


def check_of_export(p: Problem) -> None:
    run = exported(p)
    close(jvp(run, (p.values,), (p.along,))[1], p.difference(p))
    close(flat(grad(lambda values: (run(values).sin() * p.sent).sum())(p.values)), p.gradient(p.values))
    with forward_ad.dual_level():
        y = run({name: forward_ad.make_dual(value, p.along[name]) for name, value in p.values.items()})
        close(forward_ad.unpack_dual(y).tangent, p.difference(p))


def exported(p: Problem) -> Callable[[Values], Tensor]:
    class Function(torch.nn.Module):
        def forward(self, values: Values) -> Tensor:
            return p(values)

    return torch.export.export(Function(), (p.values,)).module()


# Of a network in training.


def check_batch_norm_in_training(p: Problem) -> None:
    jvp(p, (p.values,), (p.along,))


def check_dropout_under_vmap(p: Problem) -> None:
    vmap(p)({name: torch.stack([value, value]) for name, value in p.values.items()})


def check_buffers_given(p: Training) -> None:
    buffers = {name: value.clone() for name, value in p.module.named_buffers()}
    none = {name: torch.zeros_like(value) for name, value in buffers.items()}
    close(jvp(p.with_buffers, (p.values, buffers), (p.along, none))[1], p.difference(p))

    def loss(values: Values, buffers: Values) -> Tensor:
        return (p.with_buffers(values, buffers).sin() * p.sent).sum()

    close(flat(grad(loss)(p.values, buffers)), p.gradient(p.values))
    all_moved = [p.moved(0.1 * i) for i in range(3)]
    stacked = {name: torch.stack([one[name] for one in all_moved]) for name in p.values}
    many = {name: torch.stack([value] * 3) for name, value in buffers.items()}
    close(vmap(p.with_buffers, randomness="same")(stacked, many), torch.stack([p(one) for one in all_moved]))


class Training(Problem):
    """A network in training: its dropout is drawn anew from one seed, its statistics move."""

    def __init__(self, module: torch.nn.Module, x: Tensor) -> None:
        self.module, self.x = module.train(), x
        parameters = {name: value.detach() for name, value in module.named_parameters()}
        super().__init__(self.of_parameters, parameters, min(parameters, key=len))

    def of_parameters(self, values: Values) -> Tensor:
        torch.manual_seed(0)
        return functional_call(self.module, values, (self.x,))

    def with_buffers(self, values: Values, buffers: Values) -> Tensor:
        torch.manual_seed(0)
        return functional_call(self.module, (values, buffers), (self.x,))


CHECKS: dict[str, Callable] = {
    "jacfwd": check_jacobian(jacfwd),
    "jacrev": check_jacobian(jacrev),
    "vectorised": check_jacobian(vectorised),
    "jvp": check_jvp,
    "linearize": check_linearize,
    "forward_ad": check_forward_ad,
    "vjp": check_vjp,
    "hessian": check_hessian,
    "vmap": check_vmap,
    "vmap_of_grad": check_vmap_of_grad,
    "grad_of_grad": check_grad_of_grad,
    "create_graph": check_create_graph,
    "checkpoint": check_checkpoint,
    "compiled": check_compiled,
    "inside_compiled": check_inside_compiled,
    "of_compiled": check_of_compiled,
    "dual_inside_compiled": check_dual_inside_compiled,
    "export": check_export,
    "batch_norm_in_training": check_batch_norm_in_training,
    "dropout_under_vmap": check_dropout_under_vmap,
    "buffers_given": check_buffers_given,
    "of_export": check_of_export,
}
