"""torch.compile computes what eager PyTorch does: outputs and gradients of every model's layer, in both directions.

Traced and differentiated by the compiler (aot_eager); the machine code that Inductor would make of it is not looked at,
as it takes half a minute a network (task=parity compares that).
"""

from __future__ import annotations

import pytest
import torch

from models_torch.network import model_class

LENGTH = 29


def results(layer: torch.nn.Module, call) -> list[torch.Tensor]:
    u = torch.randn(2, LENGTH, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    y = call(u)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [u, *layer.parameters()])]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("model", ["s4", "dss", "s5"])
def test_a_compiled_layer_is_the_eager_one(model, bidirectional):
    layer = model_class(model).block_class.layer_class(
        4, 8, LENGTH, seed=1, bidirectional=bidirectional, dtype=torch.float64
    )
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", dynamic=False)
    for made, expected in zip(results(layer, compiled), results(layer, layer), strict=True):
        torch.testing.assert_close(made, expected, rtol=1e-9, atol=1e-12)
