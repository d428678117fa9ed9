"""Every transform of every layer, block and model in both frameworks: right, or refused by an error that says so.

What is expected stands in transforms.py, which makes the table in docs/transforms.md; the checks, against central
differences, in transforms_torch.py and transforms_jax.py. float64, and sizes as small as they can be.
"""

from __future__ import annotations

import functools
import importlib
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transforms_jax
import transforms_torch
from transforms import DOCUMENT, MARKED, Use, table, uses

import models_jax.conv
import models_jax.dense
import models_jax.network
import models_jax.pairs
import models_jax.scan
import models_torch.cauchy
import models_torch.conv
import models_torch.dense
import models_torch.network
import models_torch.norm
import models_torch.pairs
import models_torch.scan
from ssm.network import initial, network_options

pytestmark = [
    # PyTorch's own, of what it makes when it first enters a dual level, and of what torch.func.linearize traces.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning"),
]
BATCH, LENGTH = 2, 5
SIZES: dict[str, Any] = {"d_model": 3, "n_blocks": 1, "n": 4}
TOKENS = np.array([[1, 2, 3, 4, 2], [3, 2, 1, 0, 0]])

LAYERS = [("s4", {}), ("dss", {}), ("s5", {})]
# every other way in which a layer runs
WAYS = [
    ("s4", {"algorithm": "recurrent"}),
    ("s4", {"bidirectional": True, "rank": 2, "real_part": "clip"}),
    ("s4", {"l_max": 3}),  # shorter than the sequence
    *(("dss", {"algorithm": name}) for name in ("chunked", "scan", "recurrent")),
    ("dss", {"variant": "softmax", "bidirectional": True}),
    ("dss", {"variant": "softmax", "algorithm": "recurrent"}),
    *(("s5", {"algorithm": name}) for name in ("fft", "chunked", "recurrent")),
    ("s5", {"algorithm": "scan", "bidirectional": True, "discretisation": "bilinear"}),
]
BLOCKS = [
    ("s4", {"norm": "batch", "norm_position": "both", "activation": "full_glu", "pooling": "max_2"}),
    ("dss", {"norm_position": "pre", "activation": "half_glu1", "pooling": "avg_2"}),
    ("s5", {"norm_position": "both", "activation": "half_glu2"}),
]
MODELS = [("s4", {}), ("dss", {"norm": "batch", "readout": "last"}), ("s5", {"pooling": "max_2"})]
PADDED = {"encoder": "embedding", "padding": 0}
NETWORKS = [
    ("s4", {**PADDED, "norm": "batch", "pooling": "max_2", "readout": "last"}),
    ("dss", {**PADDED, "bidirectional": True, "pooling": "avg_2"}),
    ("s5", {"documents": 2, "readout": "first", "norm": "none"}),
]
IN_TRAINING = {
    "training": ("training", "s5", {**PADDED, "norm": "batch", "norm_position": "both", "dropout": 0.1}),
    "dropout": ("training", "s4", {"dropout": 0.3}),
}
CORE = {"jvp", "vjp", "forward_ad", "grad_of_grad", "vmap"}  # of what is made of the same parts
CORE_OF_JAX = {"jvp", "vjp"}  # one program; the rest takes minutes to compile

numbers = functools.partial(np.random.default_rng, 0)


def label(case: tuple) -> str:
    kind, model, settings = case
    return "-".join([kind, model, *(f"{name}={value}" for name, value in settings.items())])


CASES = [
    *(("layer", *case) for case in LAYERS + WAYS),
    *(("block", *case) for case in BLOCKS),
    *(("model", *case) for case in MODELS + NETWORKS),
    *(("steps", *case) for case in LAYERS),
]
PROMOTING = [("layer", "s4", {}), ("layer", "s5", {})]  # complex numbers by real ones
FULL = [*(("layer", *case) for case in LAYERS), *(("model", *case) for case in MODELS)]


def tries(framework: str) -> list[Any]:
    """Every pair of a use and a case that it is tried on."""
    core = CORE if framework == "torch" else CORE_OF_JAX
    found = []
    for on, use in uses(framework):
        for case in CASES:
            full = case in FULL and (on == "all" or on == case[0] or (on == "promoting" and case in PROMOTING))
            if full or (on == "all" and use.check in core and not use.instead):
                found.append(pytest.param(use, case, id=f"{use.check}-{label(case)}"))
        if on in IN_TRAINING:
            found.append(pytest.param(use, IN_TRAINING[on], id=f"{use.check}-training"))
    return found


def attempt(use: Use, check: Any, problem: Any) -> None:
    if not use.instead:
        check(problem)
        return
    with pytest.raises((RuntimeError, TypeError, ValueError), match=use.says):
        check(problem)


def values_of(kind: str, model: str, settings: dict[str, Any]) -> tuple[Any, np.ndarray]:
    """A network's options, and an input: numbers, or tokens."""
    tokens = settings.get("encoder") == "embedding"
    options = network_options(model, 5 if tokens else 1, 2, settings.get("l_max", LENGTH), {**SIZES, **settings})
    shape = (BATCH, LENGTH, 1) if options.documents == 1 else (BATCH, options.documents, LENGTH, 1)
    return options, TOKENS if tokens else numbers().standard_normal(shape)


def made(network: Any, dtype: Any, kind: str, model: str, settings: dict[str, Any]) -> tuple[Any, np.ndarray]:
    """The module of either framework, and its input."""
    if kind in ("layer", "block"):
        library = importlib.import_module(network.__package__)
        sizes = {"d_model": 3, "n": 4, "l_max": LENGTH, "seed": 1, "dtype": dtype}
        module = getattr(library, f"{model.upper()}{kind.capitalize()}")(**{**sizes, **settings})
        return module, numbers().standard_normal((BATCH, LENGTH, 3))
    options, x = values_of(kind, model, settings)
    return network.SequenceModel(options, initial(options, 0), dtype), x


class Steps(torch.nn.Module):
    """A model one step at a time."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return steps(self.model, x, torch)


def steps(model: Any, x: Any, framework: Any) -> Any:
    constants, state, taken = model.discretised(), model.initial_state(len(x)), []
    for index in range(x.shape[1]):
        y, state = model.step(x[:, index], state, constants)
        taken.append(y)
    return framework.stack(taken, 1)


@functools.cache
def torch_problem(name: str) -> transforms_torch.Problem:
    kind, model, settings = NAMED[name]
    module, x = made(models_torch.network, torch.float64, kind, model, settings)
    x = torch.tensor(x)
    if kind == "training":
        return transforms_torch.Training(module, x)
    return transforms_torch.of_module(Steps(module.eval()) if kind == "steps" else module.eval(), x)


@functools.cache
def jax_problem(name: str) -> transforms_jax.Problem:
    kind, model, settings = NAMED[name]
    module, x = made(models_jax.network, jnp.float64, kind, model, settings)

    def call(module: Any, x: Any) -> Any:
        if kind == "training":
            return module(x, training=True, key=jax.random.key(0))
        return steps(module, x, jnp) if kind == "steps" else module(x)

    return transforms_jax.of_module(module, jnp.asarray(x), call)


NAMED = {label(case): case for case in [*CASES, *IN_TRAINING.values()]}


@pytest.mark.parametrize("use,case", tries("torch"))
def test_pytorch(use, case):
    attempt(use, transforms_torch.CHECKS[use.check], torch_problem(label(case)))


@pytest.mark.parametrize("use,case", tries("jax"))
def test_jax(use, case):
    attempt(use, transforms_jax.CHECKS[use.check], jax_problem(label(case)))


# ---- the parts that layers are made of ----


def part(name: str, framework: str) -> tuple[Any, dict[str, np.ndarray], str]:
    """A function of values by name, the values, and which of them is small."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    draw = rng.standard_normal
    turn = 0.9 * np.exp(1j * draw(3))
    root = {"real": turn.real, "imag": turn.imag}
    at = {"torch": models_torch, "jax": models_jax}[framework]
    join = torch.complex if framework == "torch" else jax.lax.complex
    stack = torch.stack if framework == "torch" else jnp.stack

    def scan(reverse: bool) -> Any:
        return lambda v: at.scan.linear_scan(join(v["real"], v["imag"]), v["b"], reverse)

    parts: dict[str, tuple[Any, dict[str, np.ndarray], str]] = {
        "convolve": (
            lambda v: at.conv.convolve(v["u"], v["k"], v["d"]),
            {"u": draw((2, 5, 3)), "k": draw((1, 3, 4)), "d": draw(3)},
            "d",
        ),
        "convolve both ways": (
            lambda v: at.conv.convolve(v["u"], v["k"], v["d"]),
            {"u": draw((2, 5, 3)), "k": draw((2, 3, 7)), "d": draw(3)},
            "d",
        ),
        "linear_scan": (scan(False), {**root, "b": draw((2, 37, 6))}, "real"),  # several chunks
        "linear_scan back": (scan(True), {**root, "b": draw((2, 37, 6))}, "real"),
        "powers": (lambda v: stack(at.pairs.powers((v["real"], v["imag"]), 7)), root, "real"),
        "linear": (
            lambda v: at.dense.linear(v["x"], v["weight"]),
            {"x": draw((2, 5, 3)), "weight": draw((4, 3))},
            "weight",
        ),
    }
    return parts[name]


PARTS = ["convolve", "convolve both ways", "linear_scan", "linear_scan back", "powers", "linear"]
EVERYWHERE = ["jvp", "forward_ad", "vjp", "jacfwd", "jacrev", "vectorised", "vmap", "vmap_of_grad", "grad_of_grad"]
EVERYWHERE += ["create_graph", "hessian"]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_in_pytorch(name):
    function, values, first = part(name, "torch")
    problem = transforms_torch.Problem(function, {key: torch.tensor(value) for key, value in values.items()}, first)
    for check in EVERYWHERE:
        transforms_torch.CHECKS[check](problem)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_in_jax(name):
    function, values, first = part(name, "jax")
    problem = transforms_jax.Problem(function, {key: jnp.asarray(value) for key, value in values.items()}, first)
    for check in ("jvp", "vjp", "vmap", "grad_of_grad"):
        transforms_jax.CHECKS[check](problem)


@pytest.mark.parametrize("masked", [False, True])
def test_batch_norm_in_a_dual_level_keeps_its_statistics_plain(masked):
    """They follow the values, and hold no tangent when the level has ended."""
    values = {"weight": np.ones(3), "bias": np.zeros(3), "running_mean": np.zeros(3), "running_var": np.ones(3)}
    norm = models_torch.norm.BatchNorm(values, torch.float64, 0.9).train()
    x, along = (torch.randn(2, 5, 3, dtype=torch.float64) for _ in range(2))
    mask = torch.tensor([[1.0] * 5, [1.0] * 3 + [0.0] * 2], dtype=torch.float64)[..., None] if masked else None
    with torch.autograd.forward_ad.dual_level():
        y = norm(torch.autograd.forward_ad.make_dual(x, along), mask)
        assert torch.autograd.forward_ad.unpack_dual(y).tangent.abs().max() > 0.1
        assert torch.autograd.forward_ad.unpack_dual(norm.running_mean).tangent is None
    own = x if mask is None else x[mask[..., 0] > 0]
    torch.testing.assert_close(norm.running_mean, 0.1 * own.reshape(-1, 3).mean(0))


def test_the_table_is_what_was_found():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert MARKED.search(text)[0] == table(), "python -m tests.transforms writes it anew"


def test_every_check_stands_in_the_table():
    for framework, checks in (("torch", transforms_torch.CHECKS), ("jax", transforms_jax.CHECKS)):
        assert {use.check for _, use in uses(framework)} == set(checks)
