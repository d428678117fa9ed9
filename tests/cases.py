"""The options that every model is tested with, and both frameworks behind one face for the tests.

LAYERS covers each option of each layer, NETWORKS each option of block and network, PADDED what masks do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import models_jax.network
import models_torch.network
from ssm.network import NetworkOptions, initial, mathematics, network_options

# Compiles in a third of the time. For float64, which tests the mathematics; float32 is tested as runs compile it.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}

LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("s4", {}),
    ("s4", {"tied": False}),
    ("s4", {"rank": 2, "real_part": "clip"}),
    ("s4", {"init": "legt", "rank": 2}),
    ("s4", {"init": "fourier", "real_part": "clip"}),
    ("s4", {"bidirectional": True, "dt_min": 1e-4, "dt_max": 0.5}),
    ("dss", {}),
    ("dss", {"tied": False, "conj_sym": False}),
    ("dss", {"variant": "softmax"}),
    ("dss", {"variant": "softmax", "init": "random", "conj_sym": False, "eps": 1e-30}),
    ("dss", {"init": "random"}),
    ("dss", {"bidirectional": True, "variant": "softmax"}),
    ("s5", {}),
    ("s5", {"blocks": 2, "discretisation": "bilinear"}),
    ("s5", {"conj_sym": False, "c_init": "lecun_normal", "dt_shared": True}),
    ("s5", {"clip_eigs": True, "c_init": "complex_normal", "step_rescale": 2.0}),
    ("s5", {"bidirectional": True, "blocks": 4}),
    ("s5", {"bidirectional": True, "c_init": "complex_normal"}),
    ("s4", {"algorithm": "recurrent"}),
    *(("dss", {"algorithm": name, "tied": False}) for name in ("chunked", "scan", "recurrent")),
    *(("dss", {"algorithm": name, "bidirectional": True}) for name in ("chunked", "scan")),
    ("dss", {"algorithm": "recurrent", "variant": "softmax"}),
    *(("s5", {"algorithm": name}) for name in ("fft", "chunked", "recurrent")),
    *(("s5", {"algorithm": name, "bidirectional": True}) for name in ("fft", "chunked")),
]

NETWORKS: list[dict[str, Any]] = [
    {},
    {"norm": "batch", "norm_position": "pre", "norm_momentum": 0.9, "readout": "last"},
    {"norm": "none", "residual": False, "readout": "first", "activation": "silu"},
    {"norm_position": "both", "pooling": "avg_2", "activation": "full_glu"},
    {"norm": "batch", "norm_position": "both", "pooling": "max_3", "activation": "half_glu1", "mixing": "none"},
    {"encoder": "embedding", "readout": "none", "activation": "half_glu2"},
    {"activation": "relu", "mixing": "none", "readout": "none"},
    {"activation": "identity"},
]

TOKENS = {"encoder": "embedding", "padding": 0}
# Each pair of model, norm, pooling and read-out is met in one of nine cases.
PADDED: list[tuple[str, dict[str, Any]]] = [
    (
        model,
        {
            "norm": norm,
            "pooling": pooling,
            "readout": readout,
            "bidirectional": both,
            "n_blocks": 1 if pooling == "none" else 2,
            **TOKENS,
        },
    )
    for model, norm, pooling, readout, both in (
        ("s4", "layer", "none", "mean", True),
        ("s4", "batch", "avg_2", "last", False),
        ("s4", "none", "max_3", "first", True),
        ("dss", "layer", "avg_2", "first", False),
        ("dss", "batch", "max_3", "mean", True),
        ("dss", "none", "none", "last", True),
        ("s5", "layer", "max_3", "last", True),
        ("s5", "batch", "none", "first", True),
        ("s5", "none", "avg_2", "mean", False),
    )
]
PAIRS: list[tuple[str, dict[str, Any]]] = [
    ("s4", {"documents": 2, "norm": "batch", "bidirectional": True, "pooling": "max_2", **TOKENS}),
    ("dss", {"documents": 2, "readout": "last", "n_blocks": 1, **TOKENS}),
    ("s5", {"documents": 2, "norm": "batch", "norm_position": "both", "n_blocks": 1, **TOKENS}),
    ("s5", {"documents": 2, "readout": "first", "n_blocks": 1}),  # of real numbers
]


def label(case: object) -> str:
    """A readable test id."""
    if isinstance(case, tuple):
        return "-".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])
    assert isinstance(case, dict)
    return "-".join(f"{key}={value}" for key, value in case.items()) or "defaults"


def parameters(layer: Any) -> dict[str, np.ndarray]:
    """A layer's parameters as float64 arrays by dotted name, from either framework."""
    if isinstance(layer, torch.nn.Module):
        return {name: value.detach().double().numpy() for name, value in layer.named_parameters()}
    state = nnx.to_flat_state(nnx.state(layer, nnx.Param))
    return {".".join(map(str, path)): np.asarray(value[...], np.float64) for path, value in state}


@dataclass
class Side:
    """One framework for tests: layers and networks in, NumPy out."""

    name: str

    def dtype(self, precision: str) -> Any:
        return getattr({"torch": torch, "jax": jnp}[self.name], {"fp32": "float32", "fp64": "float64"}[precision])

    def layer(self, model: str, d_model: int, n: int, l_max: int, precision: str, **options: Any) -> Any:
        layer_class = self.library(f"{model.upper()}Layer")
        return layer_class(d_model, n, l_max, seed=7, dtype=self.dtype(precision), **options)

    def library(self, name: str) -> Any:
        """A public class: S4Layer, DSSBlock, S5Model ..."""
        return getattr({"torch": models_torch, "jax": models_jax}[self.name], name)

    def over_sequence(self, layer: Any, u: np.ndarray) -> np.ndarray:
        dtype = layer.D.dtype if self.name == "torch" else layer.D[...].dtype
        if self.name == "torch":
            with torch.no_grad():
                return layer(torch.tensor(u, dtype=dtype)).double().numpy()
        return self.compiled(layer, lambda layer, u: layer(u), jnp.asarray(u, dtype))

    def step_by_step(self, layer: Any, u: np.ndarray) -> np.ndarray:
        if self.name == "torch":
            with torch.no_grad():
                constants, state, taken = layer.discretised(), layer.initial_state(len(u)), []
                for index in range(u.shape[1]):
                    y, state = layer.step(torch.tensor(u[:, index], dtype=layer.D.dtype), state, constants)
                    taken.append(y.double().numpy())
                return np.stack(taken, 1)

        def run(layer, u):
            constants = layer.discretised()

            def advance(state, u):
                y, state = layer.step(u, state, constants)
                return state, y

            return jax.lax.scan(advance, layer.initial_state(u.shape[1]), u)[1]

        return self.compiled(layer, run, jnp.asarray(u.swapaxes(0, 1), layer.D[...].dtype)).swapaxes(0, 1)

    def kernels(self, layer: Any, length: int) -> np.ndarray:
        if self.name == "torch":
            return layer.kernels(length).detach().double().numpy()
        return self.compiled(layer, lambda layer: layer.kernels(length))

    def compiled(self, layer: Any, function: Any, *inputs: Any) -> np.ndarray:
        """JAX: function(layer, *inputs) under jit, the parameters as arguments, lest XLA folds them as constants."""
        graph, state = nnx.split(layer)
        options = QUICK if layer.D[...].dtype == jnp.float64 else None
        run = jax.jit(lambda state, *x: function(nnx.merge(graph, state), *x), compiler_options=options)
        return np.asarray(run(state, *inputs), np.float64)

    def network(self, options: NetworkOptions, values: dict[str, np.ndarray], training: bool = False) -> Any:
        """The network in float64 as a function of its input, from and to NumPy."""
        module = {"torch": models_torch.network, "jax": models_jax.network}[self.name]
        model = module.SequenceModel(options, values, self.dtype("fp64"))
        if self.name == "torch":
            model.train(training).requires_grad_(False)
            return lambda x: model(torch.tensor(x)).numpy()
        graph, state = nnx.split(model)
        compiled = jax.jit(lambda state, x: nnx.merge(graph, state, copy=True)(x, training), compiler_options=QUICK)
        return lambda x: np.asarray(compiled(state, jnp.asarray(x)))

    def loss_and_gradients(
        self, options: NetworkOptions, x: np.ndarray, targets: np.ndarray, precision: str, quick: bool = True
    ) -> dict[str, np.ndarray]:
        """Everything that the frameworks must agree on, by name: block outputs, logits, loss, gradients, statistics.

        quick: XLA's program is the one that compiles soonest, not the one of runs.
        """
        values = initial(options, 3)
        if self.name == "torch":
            model = models_torch.network.SequenceModel(options, values, self.dtype(precision))
            x_in = torch.tensor(x if x.dtype.kind == "i" else x.astype(precision.replace("fp", "float")))
            outputs = model.train().block_outputs(x_in)
            logits = model.read_out(outputs[-1], model.own_steps(x_in)[-1])
            flat = logits.reshape(-1, logits.shape[-1])
            loss = torch.nn.functional.cross_entropy(flat, torch.tensor(np.resize(targets, len(flat))))
            loss.backward()
            seen = {f"gradient.{name}": value.grad for name, value in model.named_parameters()}
            seen |= {f"statistic.{name}": value for name, value in model.named_buffers()}
            seen |= {f"output.{index}": value.detach() for index, value in enumerate(outputs)}
            seen |= {"logits": logits.detach(), "loss": loss.detach()}
            return {name: value.double().numpy() for name, value in seen.items()}

        model = models_jax.network.SequenceModel(options, values, self.dtype(precision))
        graph, params, rest = nnx.split(model, nnx.Param, ...)

        def objective(params, rest, x):
            model = nnx.merge(graph, params, rest, copy=True)
            outputs = model.block_outputs(x, training=True)
            logits = model.read_out(outputs[-1], model.own_steps(x)[-1])
            flat = logits.reshape(-1, logits.shape[-1])
            picked = jax.nn.log_softmax(flat)[jnp.arange(len(flat)), np.resize(targets, len(flat))]
            return -picked.mean(), (outputs, logits, nnx.state(model, nnx.BatchStat))

        x_in = jnp.asarray(x, x.dtype if x.dtype.kind == "i" else self.dtype(precision))
        options_of_xla = QUICK if quick else None
        run = jax.jit(jax.value_and_grad(objective, has_aux=True), compiler_options=options_of_xla)
        result = run(params, rest, x_in)
        (loss, (outputs, logits, statistics)), gradients = result
        seen = {f"gradient.{'.'.join(map(str, path))}": v[...] for path, v in nnx.to_flat_state(gradients)}
        seen |= {f"statistic.{'.'.join(map(str, path))}": v[...] for path, v in nnx.to_flat_state(statistics)}
        seen |= {f"output.{index}": value for index, value in enumerate(outputs)} | {"logits": logits, "loss": loss}
        return {name: np.asarray(value, np.float64) for name, value in seen.items()}


SIDES = [Side("torch"), Side("jax")]


def exact(layer: Any, u: np.ndarray) -> np.ndarray:
    """The layer's output by the exact recurrence in float64, for the parameters that it holds."""
    return mathematics(layer.options.model).recurrence(layer.options, parameters(layer), u)


def largest_error(found: np.ndarray, truth: np.ndarray) -> float:
    """max |found - truth| / max |truth|."""
    assert found.shape == truth.shape
    return float(np.abs(found - truth).max() / np.abs(truth).max())


def small_network(model: str, settings: dict[str, Any], length: int = 29) -> NetworkOptions:
    sizes = {"d_model": 6, "n_blocks": 2, "n": 8}
    vocabulary_or_features = 11 if settings.get("encoder") == "embedding" else 2
    return network_options(model, vocabulary_or_features, 5, length, {**sizes, **settings})


def small_batch(options: NetworkOptions, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shape = (3, options.l_max) if options.documents == 1 else (3, options.documents, options.l_max)
    if options.padding is not None:
        return padded_tokens(options, rng, shape), rng.integers(0, options.d_output, 3)
    if options.encoder == "embedding":
        return rng.integers(0, options.d_input, shape), rng.integers(0, options.d_output, 3)
    return rng.standard_normal((*shape, options.d_input)), rng.integers(0, options.d_output, 3)


def padded_tokens(options: NetworkOptions, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Sequences of all lengths, one of them without padding."""
    lengths = rng.integers(1, shape[-1] + 1, (*shape[:-1], 1))
    lengths.flat[0] = shape[-1]
    return np.where(np.arange(shape[-1]) < lengths, rng.integers(1, options.d_input, shape), options.padding)
