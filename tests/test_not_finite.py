"""What is not finite stays so: NaN in, NaN out; infinite and huge values overflow or vanish as the mathematics has it.

No value ends in an exception or in a finite number that is wrong. Truth: the exact recurrence in float64.
"""

from __future__ import annotations

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cases import NETWORKS, PADDED, PAIRS, QUICK, SIDES, Side, label, parameters, small_batch, small_network
from flax import nnx
from numpy_framework import small_data

from bench.framework import Diverged, ModelSpec, OptimiserSpec
from bench.workers.finite import described, first_not_finite
from bench.workers.training import train_task
from ssm.network import NetworkOptions, initial, mathematics, network_options, ssm_parameter_names

VALUES = (np.nan, np.inf, -np.inf, 1e30, -1e30)
CASES = [
    ("s4", {}),
    ("s4", {"tied": False, "bidirectional": True}),
    ("s4", {"rank": 2, "real_part": "clip"}),
    ("s4", {"algorithm": "recurrent"}),
    ("dss", {"tied": False}),
    ("dss", {"variant": "softmax"}),
    ("dss", {"variant": "softmax", "algorithm": "recurrent"}),
    *(("dss", {"algorithm": name}) for name in ("chunked", "scan", "recurrent")),
    ("dss", {"bidirectional": True}),
    ("s5", {"clip_eigs": True}),
    ("s5", {"discretisation": "bilinear", "bidirectional": True}),
    *(("s5", {"algorithm": name}) for name in ("fft", "chunked", "recurrent")),
]
IN_SINGLE = [CASES[0], CASES[5], CASES[11]]  # where overflow comes earlier
H, N, LENGTH = 2, 4, 9
sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)


def forms(side: Side, layer):
    """Parameters by name -> the outputs of both forms (of a bidirectional layer: the one it has), compiled once."""
    u = np.random.default_rng(0).standard_normal((2, LENGTH, H))
    if side.name == "torch":

        def eager(values):
            with torch.no_grad():
                for name, value in values.items():
                    getattr(layer, name).copy_(torch.tensor(value))
            outputs = [side.over_sequence(layer, u)]
            return outputs if layer.options.bidirectional else [*outputs, side.step_by_step(layer, u)]

        return u, eager

    graph, state = nnx.split(layer)

    def both(state, u):
        layer = nnx.merge(graph, state)
        if layer.options.bidirectional:
            return [layer(u)]
        constants = layer.discretised()

        def advance(state, u):
            y, state = layer.step(u, state, constants)
            return state, y

        return [layer(u), jax.lax.scan(advance, layer.initial_state(len(u)), u.swapaxes(0, 1))[1].swapaxes(0, 1)]

    quick = QUICK if layer.D[...].dtype == jnp.float64 else None
    compiled = jax.jit(both, compiler_options=quick)

    def run(values):
        flat = [(path, leaf.replace(jnp.asarray(values[path[0]], leaf[...].dtype))) for path, leaf in paths]
        return [np.asarray(y, np.float64) for y in compiled(nnx.from_flat_state(flat), jnp.asarray(u, layer.dtype))]

    paths = nnx.to_flat_state(state)
    return u, run


def truth_of(layer, values, u):
    """The exact output, NaN where there is none. An infinity is taken as 1e300, whose exponentials are the same."""
    finite = {name: np.nan_to_num(value, nan=np.nan, posinf=1e300, neginf=-1e300) for name, value in values.items()}
    if layer.options.model == "dss" and layer.options.variant == "softmax" and (values["Lambda_re"] > 1e29).any():
        # all that state's weight is on a step before the sequence: without it, as the recurrence itself overflows
        finite["Lambda_re"] = np.where(values["Lambda_re"] > 1e29, -1.0, values["Lambda_re"])
        finite |= {name: np.where(values["Lambda_re"] > 1e29, 0.0, values[name]) for name in ("W_re", "W_im")}
    truth = np.full(u.shape, np.nan)
    for channel in range(H) if layer.options.model == "s4" else (slice(None),):
        own = one_channel(finite, channel) if layer.options.model == "s4" else finite
        try:
            with np.errstate(all="ignore"):
                truth[..., channel] = mathematics(layer.options.model).recurrence(layer.options, own, u)[..., channel]
        except np.linalg.LinAlgError:  # singular
            continue
    return truth


def one_channel(values, channel):
    """The same values, those of one channel in all of them: an oracle that fails for one channel has the others."""

    def own(name, value):
        axis = 1 if name.startswith("P_") else 0
        return np.repeat(np.take(value, [channel], axis), H, axis) if value.shape[axis] == H else value

    return {name: own(name, value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("case", "precision"),
    [*((case, "fp64") for case in CASES), *((case, "fp32") for case in IN_SINGLE)],
    ids=lambda value: value if isinstance(value, str) else label(value),
)
@sides
def test_every_parameter_of_every_layer(side, case, precision):
    layer = side.layer(case[0], H, N, LENGTH, precision, **case[1])
    u, run = forms(side, layer)
    start = {name: value.copy() for name, value in parameters(layer).items()}  # PyTorch's are views
    bound = 1e-8 if precision == "fp64" else 2e-3
    for name in start:
        for value in VALUES:
            values = start | {name: start[name].copy()}
            values[name].flat[0] = value
            truth = truth_of(layer, values, u)
            known = np.isfinite(truth)
            for y in run(values):
                seen = np.isfinite(y)
                assert not (seen & ~known).any(), f"{name}={value} is lost"
                near = np.isclose(y, truth, rtol=bound, atol=bound * np.abs(truth[known]).max(initial=0.0))
                assert near[seen].all(), f"{name}={value} gives finite numbers that are wrong"
                if name == "log_dt":  # a step of nothing is right where the mathematics has it, and only there
                    assert (seen == known).all(), f"{name}={value}"


@sides
@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_step_sizes_over_and_underflow_like_exp(side, precision):
    module = importlib.import_module(f"models_{side.name}.layer")
    dtype = np.dtype(precision.replace("fp", "float"))
    largest = float(np.log(np.finfo(dtype).max))
    given = [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e5, -1e5, largest * 1.001, largest * 0.9999, -largest * 0.98, 0.0]
    x = np.array(given, dtype)
    with np.errstate(over="ignore"):
        truth = np.exp(x)
    if side.name == "torch":
        held = torch.tensor(x, requires_grad=True)
        y = module.step_sizes(held)
        (slope,) = torch.autograd.grad(y.sum(), held)
        y, slope = y.detach().numpy(), slope.numpy()
    else:
        y = np.asarray(jax.jit(module.step_sizes)(jnp.asarray(x)))
        slope = np.asarray(jax.grad(lambda x: module.step_sizes(x).sum())(jnp.asarray(x)))
    np.testing.assert_allclose(y, truth, rtol=1e-5 if precision == "fp32" else 1e-13)
    usual = np.abs(x) < 0.99 * largest
    np.testing.assert_allclose(slope[usual], truth[usual], rtol=1e-5 if precision == "fp32" else 1e-13)
    assert not np.isfinite(slope[np.isnan(truth) | np.isinf(truth)]).any()


@sides
@pytest.mark.parametrize("model", ["s4", "dss", "s5"])
def test_the_derivative_of_a_step_size_that_is_not_finite(side, model):
    layer = side.layer(model, H, N, LENGTH, "fp64")
    u = np.random.default_rng(0).standard_normal((2, LENGTH, H))
    for value in (np.nan, np.inf, -np.inf):
        log_dt = parameters(layer)["log_dt"].copy()
        log_dt[0] = value
        if side.name == "torch":
            with torch.no_grad():
                layer.log_dt.copy_(torch.tensor(log_dt))
            found = torch.autograd.grad(layer(torch.tensor(u)).sum(), list(layer.parameters()))
            slopes = [slope.numpy() for slope in found]
        else:
            layer.log_dt[...] = jnp.asarray(log_dt)
            graph, state = nnx.split(layer)
            slopes = jax.tree.leaves(jax.grad(lambda s, g=graph: nnx.merge(g, s)(jnp.asarray(u)).sum())(state))
        if value == -np.inf and model != "s4":
            assert all(np.isfinite(slope).all() for slope in slopes)
        else:
            assert not all(np.isfinite(slope).all() for slope in slopes)


def network_of(side: Side, options: NetworkOptions):
    """Values by name, statistics too -> logits of x in evaluation, compiled once."""
    network = importlib.import_module(f"models_{side.name}.network")
    model = network.SequenceModel(options, initial(options, 3), side.dtype("fp64"))
    if side.name == "torch":

        def eager(values, x):
            model.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
            with torch.no_grad():
                return model.eval()(torch.tensor(x)).numpy()

        return eager
    graph, state = nnx.split(model)
    paths = nnx.to_flat_state(state)
    compiled = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=QUICK)

    def run(values, x):
        flat = [(path, leaf.replace(jnp.asarray(values[".".join(map(str, path))]))) for path, leaf in paths]
        return np.asarray(compiled(nnx.from_flat_state(flat), x))

    return run


@sides
@pytest.mark.parametrize(
    "case", [*(("dss", {**each, "n_blocks": 1}) for each in NETWORKS), PADDED[2], PAIRS[0]], ids=label
)
def test_every_parameter_of_every_network(case, side):
    """A NaN in one of them reaches the logits of every row; of an embedding, whose rows are looked up, in all."""
    options = small_network(*case, length=13)
    x, _ = small_batch(options, np.random.default_rng(1))
    run, start = network_of(side, options), initial(options, 3)
    assert np.isfinite(run(start, x)).all()
    for name, value in start.items():
        broken = np.full_like(value, np.nan)
        if name != "encoder.weight" or options.encoder == "linear":
            broken = value.copy()
            broken.flat[0] = np.nan
        logits = run(start | {name: broken}, x)
        assert np.isnan(logits).reshape(len(logits), -1).any(1).all(), name


@sides
@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_a_maximum_keeps_a_nan_wherever_it_stands(side, index):
    module = importlib.import_module(f"models_{side.name}.network")
    groups = np.arange(4.0)[None, None, :, None].copy()
    groups[0, 0, index, 0] = np.nan
    assert np.isnan(np.asarray(module.largest(torch.tensor(groups) if side.name == "torch" else jnp.asarray(groups))))


@pytest.mark.parametrize("token", [-1, -12, 11, 2000, 2**31 - 1, -(2**31)])
@sides
def test_a_token_without_a_row_is_nan_from_its_step_on(side, token):
    """Not wrapped, not clamped, no device assert; also one step at a time, and under a compiler."""
    options = small_network("s5", {"encoder": "embedding", "readout": "none", "n_blocks": 1}, length=8)
    network = importlib.import_module(f"models_{side.name}.network")
    model = network.SequenceModel(options, initial(options, 3), side.dtype("fp64"))
    tokens = np.random.default_rng(0).integers(0, 11, (2, 8)).astype(np.int32)
    broken = tokens.copy()
    broken[0, 3] = token
    put = torch.tensor if side.name == "torch" else jnp.asarray
    whole, found = (np.asarray(model(put(x)).detach() if side.name == "torch" else model(x)) for x in (tokens, broken))
    assert np.isnan(found[0, 3:]).all()
    assert np.array_equal(found[0, :3], whole[0, :3])
    assert np.array_equal(found[1], whole[1])
    y, _ = model.step(put(broken[:, 3]), model.initial_state(2), model.discretised())
    assert np.isnan(np.asarray(y.detach() if side.name == "torch" else y)).any(1).tolist() == [True, False]
    if side.name == "jax":
        assert np.isnan(np.asarray(jax.jit(model)(jnp.asarray(broken)))[0, 3:]).all()
    else:
        compiled = torch.compile(model.encoder, backend="aot_eager", fullgraph=True)
        assert compiled(put(broken)).isnan().any(-1).sum() == 1


@sides
def test_small_and_unsigned_tokens_are_the_same_tokens(side):
    options = small_network("s5", {"encoder": "embedding", "n_blocks": 1, "padding": 0}, length=8)
    network = importlib.import_module(f"models_{side.name}.network")
    model = network.SequenceModel(options, initial(options, 3), side.dtype("fp64"))
    tokens = np.random.default_rng(0).integers(0, 11, (2, 8))
    put = torch.tensor if side.name == "torch" else jnp.asarray
    outputs = [model(put(tokens.astype(kind))) for kind in ("int64", "int32", "int16", "int8", "uint8")]
    assert all((y == outputs[0]).all() for y in outputs)
    for kind in ("float32", "bool", "complex64"):
        with pytest.raises(ValueError, match=rf"{kind}.*whole numbers"):
            model(put(tokens.astype(kind)))


# ---- training ----


def trainer_of(side: Side, rate: float = 1e-3):
    options = network_options("dss", 3, 3, 6, {"d_model": 4, "n_blocks": 2, "n": 4, "norm": "batch"})
    spec = ModelSpec("dss", options, initial(options, 3), ssm_parameter_names(options))
    adapter = importlib.import_module(f"models_{side.name}.adapter")
    made = adapter.adapter("cpu", "fp32", 1, "none" if side.name == "torch" else "default")
    return spec, made.build(spec, OptimiserSpec(rate=rate, ssm_rate=rate), 0)


def diverged(trainer, data=None) -> tuple[str, dict]:
    """What the message of a run says that has to diverge, and its result."""
    settings = {"batch_size": 16, "epochs": 4, "steps": 20, "length": None, "patience": None}
    settings["schedule"], result = {"name": "constant"}, {}
    with pytest.raises(Diverged) as ending:
        train_task(trainer, data or small_data(), settings, result, seed=0, ledger={}, progress=False)
    return str(ending.value), result


@sides
def test_a_run_whose_parameters_overflow_names_the_step_and_the_first_of_them(side, settings_as_before):
    spec, trainer = trainer_of(side, rate=1e38)
    message, result = diverged(trainer)
    losses = result["curve"]["step_loss"]
    assert np.isfinite(losses[:-1]).all()
    assert not np.isfinite(losses[-1])
    state = trainer.state()
    assert list(state) == list(spec.values)  # the model's order, in either framework
    (first, *_) = (name for name, value in state.items() if not np.isfinite(value).all())
    assert f"step {len(losses)} of 20" in message
    assert f"the first parameter that is not finite is {first}" in message


@pytest.mark.parametrize("name", ["blocks.1.layer.log_dt", "blocks.0.norm_post.running_var", "decoder.bias"])
@sides
def test_a_run_that_starts_from_what_is_not_finite_names_it(side, name, settings_as_before):
    """Before a step: after one of them no parameter is finite."""
    _, trainer = trainer_of(side)
    state = trainer.state()
    state[name].flat[-1] = np.nan
    trainer.restore(state)
    message, result = diverged(trainer)
    assert name in message
    assert "step 1 of 20" in message
    assert result["curve"]["step_loss"] == []


@sides
def test_a_loss_alone_that_is_not_finite_is_told_apart(side, settings_as_before):
    """Evaluated only, on a sequence that is not finite."""
    data = small_data()
    data.validation.inputs[0, 2, 1] = np.inf
    message, _ = diverged(trainer_of(side)[1], data=data)
    assert "validation loss is nan after step 10 of 20" in message
    assert "all parameters are finite" in message


def test_the_first_in_the_order_of_the_state_is_named():
    good, bad = np.ones(3), np.array([1.0, np.inf])
    assert first_not_finite({"b": good, "a": good}) is None
    assert described({"b": good, "a": good}) == "all parameters are finite, the loss alone is not"
    assert first_not_finite({"c": good, "b": bad, "a": bad}) == "b"
    assert described({"c": good, "b": bad, "a": bad}).endswith("is b, with 1 behind it")
