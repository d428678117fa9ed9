"""torch.compile computes what eager PyTorch does: outputs and gradients of every model's layer, in both directions.

Traced and differentiated by the compiler (aot_eager); the machine code that Inductor would make of it is not looked at,
as it takes half a minute a network (task=parity compares that).
"""

from __future__ import annotations

import pytest
import torch

import models_torch
from models_torch.network import SequenceModel
from ssm.network import initial, network_options

LENGTH = 29


def results(layer: torch.nn.Module, call) -> list[torch.Tensor]:
    u = torch.randn(2, LENGTH, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    y = call(u)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [u, *layer.parameters()])]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("model", ["s4", "dss", "s5"])
def test_a_compiled_layer_is_the_eager_one(model, bidirectional):
    layer_class = getattr(models_torch, f"{model.upper()}Layer")
    layer = layer_class(4, 8, LENGTH, seed=1, bidirectional=bidirectional, dtype=torch.float64)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", dynamic=False)
    for made, expected in zip(results(layer, compiled), results(layer, layer), strict=True):
        torch.testing.assert_close(made, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_a_compiled_network_is_the_eager_one(norm):
    """Encoder, norms and mixing; running statistics too."""
    options = network_options("s5", 2, 3, LENGTH, dict(d_model=4, n_blocks=1, n=8, norm=norm, norm_position="both"))
    made = {}
    for name in ("eager", "aot_eager"):
        torch._dynamo.reset()
        model = SequenceModel(options, initial(options, 0), torch.float64).train()
        call = torch.compile(model, backend=name, dynamic=False) if name != "eager" else model
        x = torch.randn(3, LENGTH, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        loss = call(x).square().sum()
        made[name] = [loss.detach(), *torch.autograd.grad(loss, list(model.parameters())), *model.buffers()]
    for compiled, expected in zip(made["aot_eager"], made["eager"], strict=True):
        torch.testing.assert_close(compiled, expected, rtol=1e-9, atol=1e-12)
