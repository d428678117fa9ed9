"""The parts of a train step as calls that can be timed, in either framework: see test_benchmarks.py."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from commands import composed

from bench.framework import ModelSpec, OptimiserSpec
from bench.measure.machine import default_threads
from bench.workers.options import model_options, problem_at
from datasets import registry
from ssm import s5
from ssm.counts import convolution
from ssm.network import initial, mathematics, ssm_parameter_names, statistic_names
from ssm.operations import operations

CASES = {
    "a": ["experiment=time_784"],
    "b": ["experiment=time_784_batch128"],
    "c": ["experiment=time_16384"],
    "tiny": ["experiment=time_16384", "task.batch_size=3", "task.length=40", "model.d_model=6", "model.n=8"],
}

Call = Callable[[], Any]  # computes, waits, and returns what it has computed


class Cell:
    """One framework, model and case, as the case's experiment has them; sets the framework up like a run does."""

    def __init__(self, framework: str, model: str, case: str) -> None:
        self.framework, self.model, self.case = framework, model, case
        self.config = composed(*CASES[case], f"model={model}", f"framework={framework}")
        description, task = registry.describe(self.config["dataset"]), self.config["task"]
        self.options = model_options(self.config["model"], problem_at(task["length"], description.problem))
        self.batch, self.layer, self.threads = task["batch_size"], self.options.layers[0], default_threads()
        compile = self.config["framework"]["compile"]
        self.adapter = self.module("adapter").adapter("cpu", self.config["precision"], self.threads, compile)

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"models_{self.framework}.{name}")

    def built(self, values: Any) -> Any:
        """The layer that holds these values."""
        return self.module("network").layer_class(self.model)(self.layer, values)


def arrays(part: str, cell: Cell) -> tuple[dict[str, np.ndarray], list[np.ndarray], np.ndarray]:
    """A part's parameters by name, its inputs and the gradient sent back through its output, in single precision."""
    rng, layer = np.random.default_rng(0), cell.layer
    parameters = {name: value.astype(np.float32) for name, value in mathematics(cell.model).initial(layer, rng).items()}
    u, sent = rng.standard_normal((2, cell.batch, layer.l_max, layer.d_model), np.float32)
    kernels = rng.standard_normal((1, layer.d_model, layer.l_max), np.float32)
    if part == "kernel":
        return parameters, [], kernels
    if part == "convolution":
        return {}, [u, kernels, parameters["D"]], sent
    if part == "scan":
        pairs = rng.standard_normal((2, cell.batch, layer.l_max, 2 * layer.stored), np.float32)
        entered, sent = pairs.view(np.complex64)
        return {}, [s5.discrete(layer, parameters)[0].astype(np.complex64), entered], sent
    return parameters, [u], sent


def torch_call(part: str, phase: str, cell: Cell) -> Call:
    """A part but the step, in PyTorch."""
    parameters, given, back = arrays(part, cell)
    inputs, sent = [torch.tensor(x) for x in given], torch.tensor(back)
    held: list[torch.Tensor] = []
    if part == "convolution":
        run = cell.module("conv").convolve
    elif part == "scan":
        scan = cell.module("scan")
        run, inputs[1], sent = scan.linear_scan, scan.real_view(inputs[1]), scan.real_view(sent)
    else:
        layer = cell.built(parameters)
        held = [value for _, value in sorted(layer.named_parameters())]  # JAX sorts a dictionary's names, too
        run = layer if part == "layer" else partial(layer.kernels, cell.layer.l_max)
    for x in inputs:
        x.requires_grad_()

    def backward() -> tuple[torch.Tensor, ...]:
        y = run(*inputs)
        return y.detach(), *torch.autograd.grad(y, (*held, *inputs), sent, materialize_grads=True)

    return backward if phase == "backward" else torch.no_grad()(partial(run, *inputs))


def jax_call(part: str, phase: str, cell: Cell) -> Call:
    """A part but the step, in JAX."""
    parameters, inputs, sent = jax.tree.map(jnp.asarray, arrays(part, cell))
    if part == "convolution":
        function = cell.module("conv").convolve
    elif part == "scan":
        scan = cell.module("scan")
        function, inputs[1], sent = scan.linear_scan, scan.real_view(inputs[1]), scan.real_view(sent)

    def run(parameters: dict[str, jax.Array], *inputs: jax.Array) -> jax.Array:
        if not parameters:
            return function(*inputs)
        # made while JAX traces: held by a layer outside, the parameters would be constants, and folded
        layer = cell.built(parameters)
        return layer(*inputs) if part == "layer" else layer.kernels(cell.layer.l_max)

    def backward(sent: jax.Array, *leaves: Any) -> tuple[jax.Array, tuple]:
        y, derivative = jax.vjp(run, *leaves)  # y is asked for: what nobody asks for, XLA does not compute
        return y, derivative(sent)

    before = [sent] if phase == "backward" else []
    call = partial(jax.jit(backward if before else run), *before, parameters, *inputs)
    return lambda: jax.block_until_ready(call())


def step_call(phase: str, cell: Cell) -> Call:
    """The whole network, through the adapter: the train step or the forward pass."""
    options, task, seed = cell.options, cell.config["task"], cell.config["seed"]
    spec = ModelSpec(cell.model, options, initial(options, seed), ssm_parameter_names(options))
    optimiser = OptimiserSpec(**task["optimiser"], clip_norm=task["clip_norm"])
    trainer = cell.adapter.build(spec, optimiser, seed)
    rng = np.random.default_rng(0)
    inputs = rng.random((cell.batch, options.l_max, options.d_input), np.float32)
    batch = trainer.put(inputs, rng.integers(0, options.d_output, cell.batch))
    run = partial(trainer.train_step, scale=1.0) if phase == "train_step" else trainer.forward

    def call() -> Any:
        handle = run(batch)
        trainer.wait(handle)
        return handle

    return call


def built(part: str, phase: str, cell: Cell) -> Call:
    if part == "step":
        return step_call(phase, cell)
    return (torch_call if cell.framework == "torch" else jax_call)(part, phase, cell)


def flops(part: str, phase: str, cell: Cell) -> float | None:
    """Analytic operations, where ssm/ counts them; backward as it does there, twice the forward ones."""
    layer, times = cell.layer, 1.0 if phase == "forward" else 3.0
    if part == "convolution":
        return times * convolution(cell.batch, layer.d_model, layer.l_max, 1)
    if part == "layer":
        return times * mathematics(cell.model).flops(layer, cell.batch)
    if part == "step":
        skipped = statistic_names(cell.options)
        count = sum(value.size for name, value in initial(cell.options, 0).items() if name not in skipped)
        counted = operations(cell.options, cell.batch, count)
        return counted.forward_flops if phase == "forward" else counted.train_step_flops
    return None
