"""Operators with a kernel and a derivative of their own, which PyTorch's transforms see through.

Out of ``kernel`` PyTorch can make nothing but its value and, by ``derivative``, its gradient: under torch.func.jvp its
tangent would be lost without a word, and torch.vmap would find no rule. There PyTorch's dispatcher takes ``plain``, the
same function in PyTorch's own differentiable operators (slower, and with larger arrays); it alone knows, in compiled
and exported programs too, whether a transform is at work.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

LIBRARY = torch.library.Library("ssm_bench", "DEF")


def operator(
    name: str,
    kernel: Callable,
    fake: Callable,
    plain: Callable,
    keep: Callable,
    derivative: Callable,
) -> torch._ops.OpOverload:
    """Registers ssm_bench::<name>.

    ``kernel`` computes the result, ``fake`` arrays of its shapes, ``plain`` the result by what PyTorch differentiates
    and batches; all take the same arguments. ``keep(ctx, inputs, output)`` and ``derivative(ctx, *grad)`` are as in
    torch.autograd.Function.
    """
    schema = torch.library.infer_schema(kernel, mutates_args=())
    LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    made = getattr(torch.ops.ssm_bench, name).default

    class Derivative(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            with torch._C._AutoDispatchBelowAutograd():
                output = made(*inputs)
            keep(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx, *grad):
            return derivative(ctx, *grad)

        @staticmethod
        def jvp(ctx, *tangents):
            raise NotImplementedError(
                f"ssm_bench::{name}: forward mode (torch.autograd.forward_ad) inside a compiled function; enter "
                "forward_ad.dual_level() outside of it, or use torch.func.jvp."
            )

    def differentiated(*inputs):
        return plain(*inputs) if dual(inputs) else Derivative.apply(*inputs)

    LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
    LIBRARY.impl(name, differentiated, "Autograd")
    LIBRARY.impl(name, plain, "FuncTorchDynamicLayerFrontMode")  # the first key, and there in a transform alone
    torch.library.register_fake(f"ssm_bench::{name}", fake, lib=LIBRARY)
    return made


def dual(inputs: tuple) -> bool:
    """Whether forward mode is at work: in a dual level, or, while the compiler traces one, if any input is dual."""
    if forward_ad._current_level >= 0 or type(inputs[0]) is Tensor:
        return forward_ad._current_level >= 0
    tensors = (x for x in inputs if isinstance(x, Tensor))
    return any(forward_ad.unpack_dual(x, level=0).tangent is not None for x in tensors)


def derivative_operator(name: str, kernel: Callable, fake: Callable, plain: Callable) -> torch._ops.OpOverload:
    """Registers ssm_bench::<name>, a derivative: its own derivative (of second order) is that of ``plain``.

    Numbers follow the tensors among its arguments.
    """

    def keep(ctx, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*(x for x in inputs if isinstance(x, Tensor)))
        ctx.numbers = [x for x in inputs if not isinstance(x, Tensor)]

    def derivative(ctx, *grad: Tensor) -> tuple[Tensor | None, ...]:
        numbers = ctx.numbers
        return *gradients(lambda *x: plain(*x, *numbers), ctx.saved_tensors, grad), *[None] * len(numbers)

    return operator(name, kernel, fake, plain, keep, derivative)


def gradients(function: Callable, inputs: tuple[Tensor, ...], grad: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The gradients of ``inputs`` from those of function(*inputs), differentiable themselves."""
    output, backward = torch.func.vjp(function, *inputs)
    return backward(grad[0] if isinstance(output, Tensor) else grad)


def transformed() -> bool:
    """Whether torch.func or torch.autograd.forward_ad transforms what is being computed."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def made_anew(function: Callable, *inputs):
    """function(*inputs), of which the derivative keeps the inputs alone; under a transform, where it cannot, all."""
    return function(*inputs) if transformed() else checkpoint(function, *inputs, use_reentrant=False)
