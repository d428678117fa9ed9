"""Micro-benchmarks of a train step's parts, PyTorch and JAX beside each other: `make bench`. One cell of it:

    python -m pytest -o addopts= --benchmark-only "tests/test_benchmarks.py::test_convolution[backward-a-torch]"

Measured: seconds a call, each call waited for, on the CPU in float32; the first, compiling call is left out. The parts
are the kernels of S4 and DSS, the convolution, the scan, each model's layer and the whole step through the adapters.
"backward" is forward and backward, with the gradients of all inputs and parameters. The sizes are those of the
experiments that tests/parts.py names.

What limits it: both frameworks share one process, so each computes beside the other's idle thread pool, in a heap that
the other has used. Freed memory goes back to the system; the workers of run.py keep it (ALLOCATOR in
bench/workers/environment.py). extra_info's "threads" are PyTorch's; XLA's pool takes every usable core. A cell has few
rounds, on one batch. The machine must be idle: beside another process that computes, PyTorch's OpenMP threads wait for
each other, and short calls take a hundred times as long, even the fastest round. Good for telling which part became
slower; the headline figures come from run.py: one process a framework, rounds of calls back to back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import jax
import numpy as np
import pytest
import torch
from parts import Cell, built, flops
from pytest_benchmark.fixture import BenchmarkFixture

LEAST_ROUNDS, MOST_ROUNDS, CELL_SECONDS = 5, 50, 0.5  # short calls get more rounds, for about CELL_SECONDS

frameworks = pytest.mark.parametrize("framework", ["torch", "jax"])
models = pytest.mark.parametrize("model", ["s4", "dss", "s5"])
cases = pytest.mark.parametrize("case", ["a", "b", "c"])
phases = pytest.mark.parametrize("phase", ["forward", "backward"])


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    """JAX without float64, as in a run; the adapters set precision and threads. Other tests get theirs back."""
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    x64, jax_matmul = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    jax.config.update("jax_enable_x64", False)
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul)
    jax.config.update("jax_enable_x64", x64)
    jax.config.update("jax_default_matmul_precision", jax_matmul)


def measure(benchmark: BenchmarkFixture, part: str, phase: str, cell: Cell) -> None:
    """Compiles, warms up and times one cell; extra_info has its sizes and its analytic operations."""
    benchmark.group = f"{part} {cell.model} {cell.case} {phase}"  # PyTorch and JAX stand side by side
    names = ("framework", "model", "case", "batch", "threads")
    sizes = {"length": cell.layer.l_max, "d_model": cell.layer.d_model, "n": cell.layer.n}
    benchmark.extra_info |= {name: getattr(cell, name) for name in names} | sizes
    benchmark.extra_info |= {"n_blocks": len(cell.options.layers)} if part == "step" else {}
    benchmark.extra_info |= {"flops": flops(part, phase, cell)}
    call = built(part, phase, cell)

    def timed() -> None:
        call()  # what it returns is freed here, not kept beside the next round's

    timed()  # compiles
    begin = time.perf_counter()
    timed()  # warms up
    affordable = int(CELL_SECONDS / (time.perf_counter() - begin))
    benchmark.pedantic(timed, rounds=min(MOST_ROUNDS, max(LEAST_ROUNDS, affordable)), iterations=1, warmup_rounds=1)


@frameworks
@pytest.mark.parametrize("model", ["s4", "dss"])
@pytest.mark.parametrize("case", ["a", "c"])  # b's kernels are a's
@phases
def test_kernel(phase, case, model, framework, benchmark):
    measure(benchmark, "kernel", phase, Cell(framework, model, case))


@frameworks
@cases
@phases
def test_convolution(phase, case, framework, benchmark):
    measure(benchmark, "convolution", phase, Cell(framework, "s4", case))  # DSS has the same


@frameworks
@cases
@phases
def test_scan(phase, case, framework, benchmark):
    measure(benchmark, "scan", phase, Cell(framework, "s5", case))


@frameworks
@models
@cases
@phases
def test_layer(phase, case, model, framework, benchmark):
    measure(benchmark, "layer", phase, Cell(framework, model, case))


@frameworks
@models
@cases
@pytest.mark.parametrize("phase", ["forward", "train_step"])
def test_step(phase, case, model, framework, benchmark):
    measure(benchmark, "step", phase, Cell(framework, model, case))


def computed(part: str, phase: str, cell: Cell) -> list[np.ndarray]:
    """What a call returns, in an order and a layout of numbers that both frameworks share."""
    found = jax.tree.leaves(built(part, phase, cell)())
    if part == "scan":  # x, a's gradient, b's gradient
        found[::2] = [cell.module("scan").complex_view(x) for x in found[::2]]
        if cell.framework == "jax":  # whose gradients of complex numbers are the conjugates of PyTorch's
            found[1] = found[1].conj()
    return [np.asarray(x) for x in found]


@pytest.mark.parametrize(
    "part,phase,model",  # each part once, as compiling takes its time; backward returns the forward part's output, too
    [
        ("kernel", "backward", "dss"),
        ("convolution", "forward", "s4"),
        ("convolution", "backward", "s4"),
        ("scan", "backward", "s5"),
        ("layer", "backward", "s5"),
        ("step", "forward", "s5"),
        ("step", "train_step", "s5"),
    ],
)
def test_what_is_timed_computes_the_same_in_both_frameworks(part, phase, model):
    one, other = (computed(part, phase, Cell(framework, model, "tiny")) for framework in ("torch", "jax"))
    assert one
    for x, y in zip(one, other, strict=True):
        np.testing.assert_allclose(y, x, rtol=0, atol=1e-4 * np.abs(x).max())
