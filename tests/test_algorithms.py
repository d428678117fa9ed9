"""What an algorithm's name promises: its operations run and no others', and the sizes of pieces change no number.

That all algorithms give the same output is tested in test_models.py. Not covered: what XLA makes of its operations.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import torch
from cases import QUICK, SIDES, Side, label, largest_error
from commands import status_of, tiny_run
from flax import nnx
from jax.extend.core import Jaxpr, jaxprs_in_params
from test_run import record_of

from bench.runs import job
from bench.views.summary import of_run
from ssm import dss, s4, s5

LENGTH = 200
STEP = 8  # operations: a step of the recurrence takes at least 13, a step's share of all other algorithms is below 5
AUTO = {"s4": "fft", "dss": "fft", "s5": "scan"}  # as ssm.algorithms says
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "dot_general")
CASES: list[tuple[str, dict[str, Any]]] = [
    ("s4", {}),
    ("dss", {}),
    ("dss", {"variant": "softmax"}),
    ("dss", {"bidirectional": True}),
    ("s5", {}),
    ("s5", {"bidirectional": True}),
]

both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)


def offered(model: str, settings: dict[str, Any]) -> list[str]:
    names = {"s4": s4.ALGORITHMS, "dss": dss.ALGORITHMS[settings.get("variant", "exp")], "s5": s5.ALGORITHMS}[model]
    return [name for name in names if name != "recurrent" or not settings.get("bidirectional")]


def primitives(program: Jaxpr) -> Counter[str]:
    """How often each primitive runs, those of a loop once a turn."""
    found: Counter[str] = Counter()
    for equation in program.eqns:
        name = equation.primitive.name
        found[name] += 1
        turns = equation.params["length"] if name == "scan" else 1
        for inner in jaxprs_in_params(equation.params):
            for each, count in primitives(inner).items():
                found[each] += turns * count
    return found


def operations(side: Side, model: str, settings: dict[str, Any]) -> Counter[str]:
    """How often each operation runs in a layer's forward pass, those within other operations too."""
    layer = side.layer(model, 3, 8, LENGTH, "fp64", **settings)
    u = np.random.default_rng(0).standard_normal((2, LENGTH, 3))
    if side.name == "jax":
        return primitives(jax.make_jaxpr(lambda u: layer(u))(u).jaxpr)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        side.over_sequence(layer, u)
    return Counter({event.key.removeprefix("aten::"): event.count for event in profile.key_averages()})


def products(counts: Counter[str]) -> int:
    return sum(counts[name] for name in PRODUCTS)


@both_sides
@pytest.mark.parametrize("case", CASES, ids=label)
def test_what_is_named_is_what_runs(case, side):
    model, settings = case
    names = offered(model, settings)
    found = {name: operations(side, model, {**settings, "algorithm": name}) for name in ("auto", *names)}
    assert found.pop("auto") == found[AUTO[model]]
    for one, other in itertools.combinations(names, 2):
        assert found[one] != found[other], (one, other)
    assert {name for name in names if any("fft" in operation for operation in found[name])} == {"fft"}
    assert {name for name in names if found[name].total() > STEP * LENGTH} == {"recurrent"} & set(names)
    if "chunked" in names:
        assert products(found["chunked"]) > products(found["scan"])


def pieced(side: Side) -> list[ModuleType]:
    """The modules of a framework that work piece by piece."""
    package = importlib.import_module(f"models_{side.name}")
    names = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    return [module for module in map(importlib.import_module, names) if "PIECE" in vars(module)]


def output_and_gradients(side: Side, layer: Any, u: np.ndarray, sent: np.ndarray) -> dict[str, np.ndarray]:
    """The output, and with ``sent`` back through it the gradients of u and, by name, of the parameters."""
    if side.name == "torch":
        x = torch.tensor(u, requires_grad=True)
        y = layer(x)
        y.backward(torch.tensor(sent))
        found = {name: value.grad for name, value in layer.named_parameters()} | {"u": x.grad, "y": y.detach()}
        return {name: value.numpy() for name, value in found.items()}
    graph, params = nnx.split(layer, nnx.Param)

    @partial(jax.jit, compiler_options=QUICK)
    def run(params: nnx.State, x: jax.Array, sent: jax.Array) -> tuple:
        y, backward = jax.vjp(lambda params, x: nnx.merge(graph, params)(x), params, x)
        return y, *backward(sent)

    y, of_params, of_x = run(params, u, sent)
    found = {".".join(map(str, path)): value[...] for path, value in nnx.to_flat_state(of_params)}
    return {name: np.asarray(value) for name, value in (found | {"u": of_x, "y": y}).items()}


@pytest.fixture
def forgotten_programs() -> Iterator[None]:
    """What JAX has traced with other pieces must not serve the next test."""
    yield
    jax.clear_caches()


@both_sides
@pytest.mark.parametrize(
    "case",
    [
        ("s4", {"bidirectional": True}),
        ("dss", {"algorithm": "scan"}),
        ("s5", {"bidirectional": True, "conj_sym": False}),
    ],
    ids=label,
)
@pytest.mark.usefixtures("forgotten_programs")
def test_pieces_of_any_size_give_the_same_outputs_and_gradients(case, side, monkeypatch):
    model, settings = case
    u, sent = np.random.default_rng(0).standard_normal((2, 6, 20, 6))
    modules = pieced(side)
    assert {"cauchy", "conv", "dss", "scan"} <= {module.__name__.partition(".")[2] for module in modules}
    whole = output_and_gradients(side, side.layer(model, 6, 8, 20, "fp64", **settings), u, sent)
    for size in (
        1,
        200,
        1000,
    ):  # at each place at least one gives several pieces, at some the last one is a smaller one
        for module in modules:
            for name in [name for name in vars(module) if name.startswith("PIECE")]:
                monkeypatch.setattr(module, name, size)
        jax.clear_caches()
        parts = output_and_gradients(side, side.layer(model, 6, 8, 20, "fp64", **settings), u, sent)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            assert largest_error(parts[name], value) < 1e-11, (name, size)


@pytest.mark.parametrize("asked, ran", [("auto", "scan"), ("chunked", "chunked")])
def test_the_summary_of_a_timed_run_names_the_algorithm_that_ran(tmp_path, asked, ran):
    words = ["task=time", "dataset=digits", "model=s5", f"model.algorithm={asked}", "task.rounds=2"]
    assert status_of(tiny_run(tmp_path, *words, "task.steps=1")) == "ok"
    record = record_of(tmp_path)
    text = of_run(job.Outcome(job.label(record["config"]), record["status"], record["message"], None, record))
    assert text.startswith("s5 torch digits time: ok\n")
    assert f"  {'algorithm':<16} {ran}" in text.splitlines()
