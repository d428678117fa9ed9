"""Types: a converted module, an input of any type and a region of autocast give what the module built so would give.

Or they are refused by a ValueError with the type's name. Truth: the exact recurrence in float64, and for blocks and
networks the same module built in that type.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cases import LAYERS, NETWORKS, SIDES, Side, exact, label, largest_error, small_batch, small_network
from flax import nnx

import models_jax
import models_torch
from models_torch.dense import Dense
from ssm.network import initial

BOUND = {"float64": 1e-9, "float32": 2e-4}
HALF = ["float16", "bfloat16"]
sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
models = pytest.mark.parametrize("model", ["s4", "dss", "s5"])

# ways to another type in PyTorch: (module, type) -> module
WAYS = {
    "to": lambda module, dtype: module.to(dtype),
    "to_like": lambda module, dtype: module.to(torch.zeros(1, dtype=dtype)),
    "to_device_and_type": lambda module, dtype: module.to("cpu", dtype),
    "type": lambda module, dtype: module.type(dtype),
    "method": lambda module, dtype: {torch.float64: module.double, torch.float32: module.float}[dtype](),
    "copied": lambda module, dtype: copy.deepcopy(module).to(dtype),
    "assigned": lambda module, dtype: assigned(module, dtype),
}


def assigned(module, dtype):
    state = {name: value.to(dtype) for name, value in module.state_dict().items()}
    module.load_state_dict(state, assign=True)
    return module


def cast(module, dtype):
    """The JAX module with all its variables in another type, as its users do it."""
    graph, state = nnx.split(module)
    return nnx.merge(graph, jax.tree.map(lambda x: x.astype(dtype), state))


def converted(module, dtype: str, way: str = "to"):
    if isinstance(module, torch.nn.Module):
        return WAYS[way](module, getattr(torch, dtype))
    return cast(module, jnp.dtype(dtype))


def array(side: Side, x: np.ndarray, dtype: str | None = None):
    if side.name == "torch":
        return torch.tensor(x) if dtype is None else torch.tensor(x).to(getattr(torch, dtype))
    return jnp.asarray(x, dtype)


def numpy(y) -> np.ndarray:
    return y.detach().double().numpy() if isinstance(y, torch.Tensor) else np.asarray(y, np.float64)


def type_of(y) -> str:
    return str(y.dtype).removeprefix("torch.")


def step_by_step(module, x):
    """Every step's output (B, L, ...), stacked."""
    constants, outputs = module.discretised(), []
    state = module.layer.initial_state(len(x)) if hasattr(module, "layer") else module.initial_state(len(x))
    for index in range(x.shape[1]):
        y, state = module.step(x[:, index], state, constants)
        outputs.append(y)
    return torch.stack(outputs, 1) if isinstance(outputs[0], torch.Tensor) else jnp.stack(outputs, 1)


def built(side: Side, model: str, settings: dict, dtype: str = "float32", compute_dtype: str | None = None):
    """A network of the test's values; each type by name."""
    network = importlib.import_module(f"models_{side.name}.network")
    options = small_network(model, {"n_blocks": 1, **settings}, length=12)
    library = {"torch": torch, "jax": jnp}[side.name]
    dtypes = [getattr(library, name) for name in (dtype, compute_dtype) if name is not None]
    return options, network.SequenceModel(options, initial(options, 3), *dtypes)


def same_values(module, other):
    """``module`` with the values of ``other``, rounded where its type asks for it."""
    if isinstance(module, torch.nn.Module):
        module.load_state_dict(other.state_dict())
        return module
    graph, state = nnx.split(module)
    return nnx.merge(graph, jax.tree.map(lambda x, y: y.astype(x.dtype), state, nnx.split(other)[1]))


# ---- conversions ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", LAYERS, ids=label)
def test_a_converted_torch_layer_is_the_exact_recurrence(case, dtype):
    side, start = SIDES[0], {"float64": "fp32", "float32": "fp64"}[dtype]
    u = np.random.default_rng(0).standard_normal((2, 11, 3))
    for way in WAYS if case[1] == {} else ["to"]:
        layer = converted(side.layer(case[0], 3, 8, 10, start, **case[1]), dtype, way)
        truth, y = exact(layer, u), layer(array(side, u, dtype))
        assert type_of(y) == dtype
        assert largest_error(numpy(y), truth) < BOUND[dtype]
        if not case[1].get("bidirectional"):
            y = step_by_step(layer, array(side, u, dtype))
            assert type_of(y) == dtype
            assert largest_error(numpy(y), truth) < BOUND[dtype] * (10 if dtype == "float32" else 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@models
def test_a_converted_jax_layer_is_the_exact_recurrence(model, dtype):
    side, start = SIDES[1], {"float64": "fp32", "float32": "fp64"}[dtype]
    u = np.random.default_rng(0).standard_normal((2, 11, 3))
    layer = converted(side.layer(model, 3, 8, 10, start), dtype)
    assert type_of(jax.eval_shape(layer, array(side, u, dtype))) == dtype
    assert largest_error(side.over_sequence(layer, u), exact(layer, u)) < BOUND[dtype]
    bound = BOUND[dtype] * (10 if dtype == "float32" else 1)
    assert largest_error(side.step_by_step(layer, u), exact(layer, u)) < bound


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("settings", NETWORKS, ids=label)
def test_a_converted_torch_network_is_the_one_built_so(settings, dtype, way):
    """Values, gradients, statistics and the step form, bit for bit; also with dense layers in bfloat16."""
    side, start = SIDES[0], {"float64": "float32", "float32": "float64"}[dtype]
    for compute_dtype in (None, "bfloat16"):
        options, model = built(side, "dss", settings, start, compute_dtype)
        model = converted(model, dtype, way)
        truth = same_values(built(side, "dss", settings, dtype, compute_dtype)[1], model)
        x = small_batch(options, np.random.default_rng(1))[0]
        x = array(side, x) if options.encoder == "embedding" else array(side, x, dtype)
        found, expected = (results(each, x, options.block.pool_size == 1) for each in (model, truth))
        assert all(torch.equal(y, z) for y, z in zip(found, expected, strict=True))
        assert found[0].dtype == getattr(torch, dtype)


def results(model, x, stepwise: bool, context=contextlib.nullcontext) -> list[torch.Tensor]:
    """Logits, gradients and running statistics of a training pass, then the step form in evaluation.

    The forward passes in a context; the backward one outside, where PyTorch wants it of autocast.
    """
    with context():
        y = model.train()(x)
    slopes = torch.autograd.grad(y.double().square().sum(), list(model.parameters()), allow_unused=True)
    slopes = [slope for slope in slopes if slope is not None]  # the logits do not reach all
    model.eval()
    with torch.no_grad(), context():
        steps = [step_by_step(model, x)] if stepwise else []
        return [y.detach(), *slopes, *model.buffers(), model(x), *steps]


@pytest.mark.parametrize("settings", [NETWORKS[1], NETWORKS[5]], ids=label)
def test_a_converted_jax_network_is_the_one_built_so(settings):
    side = SIDES[1]
    for start, dtype, compute_dtype in (("float32", "float64", None), ("float64", "float32", "bfloat16")):
        options, model = built(side, "s5", settings, start, compute_dtype)
        model = converted(model, dtype)
        truth = same_values(built(side, "s5", settings, dtype, compute_dtype)[1], model)
        x = small_batch(options, np.random.default_rng(1))[0][:, :3]
        x = array(side, x) if options.encoder == "embedding" else array(side, x, dtype)
        assert type_of(model(x)) == dtype
        assert (model(x) == truth(x)).all()
        assert (step_by_step(model, x) == step_by_step(truth, x)).all()
        assert (copy.deepcopy(model)(x) == truth(x)).all()


@sides
@models
def test_a_block_of_its_own_is_converted_too(side, model):
    package = {"torch": models_torch, "jax": models_jax}[side.name]
    block_class = getattr(package, f"{model.upper()}Block")
    options = {"norm": "batch", "norm_position": "both", "activation": "full_glu"}
    u = np.random.default_rng(0).standard_normal((2, 9, 4))
    block = converted(block_class(4, 4, 9, seed=1, **options), "float64")
    truth = same_values(block_class(4, 4, 9, dtype=side.dtype("fp64"), **options), block)
    if side.name == "torch":
        block, truth = block.eval(), truth.eval()
    for kind in ("int32",) if side.name == "jax" else ("int32", "float32", "float64"):
        x = array(side, np.round(u), kind)
        assert type_of(block(x)) == "float64"
        assert (numpy(block(x)) == numpy(truth(converted_input(x)))).all()
    assert largest_error(numpy(step_by_step(block, array(side, u[:, :5]))), numpy(truth(array(side, u)))[:, :5]) < 1e-9


def converted_input(x):
    return x.double() if isinstance(x, torch.Tensor) else x.astype(jnp.float64)


# ---- half precision ----


@pytest.mark.parametrize("dtype", HALF)
@sides
@models
def test_half_precision_of_state_space_parameters_is_refused_by_name(side, model, dtype):
    match = rf"dtype=(torch\.)?{dtype}.*compute_dtype"
    library = {"torch": torch, "jax": jnp}[side.name]
    layer = converted(side.layer(model, 3, 4, 9, "fp32"), dtype)
    u = array(side, np.zeros((2, 9, 3)), dtype)
    for call in (
        lambda: layer(u),
        lambda: layer.discretised(),
        lambda: layer.initial_state(2),
        lambda: layer.step(u[:, 0], None, {}),
        lambda: converted(built(side, model, {})[1], dtype)(array(side, np.zeros((2, 12, 2)))),
        lambda: converted(built(side, model, {"norm": "batch"})[1], dtype).discretised(),
        lambda: built(side, model, {}, dtype),
        lambda: type(layer)(3, 4, 9, dtype=getattr(library, dtype)),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    again = converted(layer, "float32")  # and nothing is broken by it
    if side.name == "torch":
        x = np.random.default_rng(0).standard_normal((2, 9, 3))
        assert largest_error(side.over_sequence(again, x), exact(again, x)) < BOUND["float32"]
    assert type_of(again) == "float32"


@pytest.mark.parametrize("compute_dtype", HALF)
@sides
def test_half_precision_of_dense_layers_keeps_the_rest(side, compute_dtype):
    """The way that the refusal points to: float32 parameters and logits, near the network that is all float32."""
    options, model = built(side, "s5", {"norm": "batch"}, "float32", compute_dtype)
    truth = built(side, "s5", {"norm": "batch"}, "float64")[1]
    if side.name == "torch":
        model, truth = model.eval(), truth.eval()
    x = small_batch(options, np.random.default_rng(1))[0]
    y = model(array(side, x, "float32"))
    assert type_of(y) == "float32"
    assert 1e-7 < largest_error(numpy(y), numpy(truth(array(side, x)))) < 0.03
    steps = numpy(step_by_step(model, array(side, x[:, :5])))
    assert largest_error(steps, numpy(step_by_step(truth, array(side, x[:, :5])))) < 0.03


@sides
def test_types_that_are_none_are_refused(side):
    library = {"torch": torch, "jax": jnp}[side.name]
    layer_class = type(side.layer("s5", 3, 4, 9, "fp32"))
    for wrong in (library.int32, library.complex64, "no_type"):
        with pytest.raises(ValueError, match="dtype="):
            layer_class(3, 4, 9, dtype=wrong)
        with pytest.raises(ValueError, match="compute_dtype="):
            side.library("S5Model")(2, 6, 5, 1, 4, 12, compute_dtype=wrong)


def options_and_values():
    options = small_network("s5", {"n_blocks": 1}, length=12)
    return options, initial(options, 3)


@sides
def test_parameters_of_several_types_in_one_layer_are_refused(side):
    layer = side.layer("dss", 3, 4, 9, "fp32")
    if side.name == "torch":
        layer.log_dt.data = layer.log_dt.data.double()
    else:
        layer.log_dt = nnx.Param(layer.log_dt[...].astype(jnp.float64))
    with pytest.raises(ValueError, match=r"one type, not .*float32.*float64"):
        layer(array(side, np.zeros((2, 9, 3))))


@sides
@models
def test_constants_and_states_of_before_a_conversion_are_refused(side, model):
    layer = side.layer(model, 3, 4, 9, "fp32", **({"variant": "softmax"} if model == "dss" else {}))
    constants, state = layer.discretised(), layer.initial_state(2)
    layer = converted(layer, "float64")
    u = array(side, np.zeros((2, 3)))
    for made in ((state, constants), (layer.initial_state(2), constants), (state, layer.discretised())):
        with pytest.raises(ValueError, match=r"(complex64|float32).*float64.*again"):
            layer.step(u, *made)
    layer.step(u, layer.initial_state(2), layer.discretised())


# ---- inputs ----

INPUTS = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool"]


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@sides
@models
def test_inputs_of_any_real_type(side, model, precision):
    """Converted to the parameters' type, which the output has."""
    layer = side.layer(model, 3, 8, 10, precision)
    own = precision.replace("fp", "float")
    network = built(side, model, {}, own)[1] if side.name == "torch" or model == "s5" else None
    rng = np.random.default_rng(0)
    kinds = INPUTS if side.name == "torch" else {"s5": INPUTS[::2], "dss": INPUTS[1::2], "s4": INPUTS[:1]}[model]
    for kind in kinds:
        whole = kind.startswith(("int", "uint", "bool"))
        u, x = (rng.integers(0, 2, s) if whole else rng.standard_normal(s) for s in ((2, 11, 3), (2, 12, 2)))
        u, x = array(side, u, kind), array(side, x, kind)
        y = layer(u)
        assert type_of(y) == own
        assert largest_error(numpy(y), exact(layer, numpy(u))) < BOUND[own]
        if network is None:  # JAX compiles each of them for seconds
            continue
        step, _ = layer.step(u[:, 0], layer.initial_state(2), layer.discretised())
        assert type_of(step) == own
        logits = network(x)
        assert type_of(logits) == own
        assert (logits == network(array(side, numpy(x), own))).all()


@sides
def test_what_is_no_real_array_is_refused(side):
    layer, (_, network) = side.layer("s5", 3, 4, 9, "fp32"), built(side, "s5", {})
    block = network.blocks[0]
    for module, width in ((layer, 3), (block, 6), (network, 2)):
        with pytest.raises(ValueError, match=r"complex64.*real"):
            module(array(side, np.zeros((2, 9, width)), "complex64"))
    with pytest.raises(ValueError, match=r"complex64.*real"):
        network.step(array(side, np.zeros((2, 2)), "complex64"), network.initial_state(2), network.discretised())
    if side.name == "torch":
        with pytest.raises(ValueError, match="ndarray"):
            layer(np.zeros((2, 9, 3)))


@pytest.mark.parametrize("model", ["dss", "s5"])
def test_jax_takes_numpy(model):
    side = SIDES[1]
    layer, (options, network) = side.layer(model, 3, 4, 9, "fp32"), built(side, model, {})
    u = np.random.default_rng(0).standard_normal((2, 9, 3))
    assert type_of(layer(u)) == "float32"
    assert (layer(u) == layer(jnp.asarray(u))).all()
    x = small_batch(options, np.random.default_rng(1))[0]
    assert (network(x) == network(jnp.asarray(x))).all()
    y, _ = network.step(x[:, 0], network.initial_state(3), network.discretised())
    assert type_of(y) == "float32"


def test_float64_without_x64_is_refused_and_numpy_float64_is_taken(settings_as_before):
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(ValueError, match=r"dtype='float64'.*jax_enable_x64"):
        models_jax.S5Layer(3, 4, 9, dtype=jnp.float64)
    with pytest.raises(ValueError, match=r"compute_dtype='float64'.*jax_enable_x64"):
        models_jax.S5Block(4, 4, 9, compute_dtype="float64")
    layer = models_jax.S5Layer(3, 4, 9)
    assert type_of(layer(np.zeros((2, 9, 3)))) == "float32"


# ---- PyTorch's modes ----


@pytest.mark.parametrize("dtype", HALF)
@models
def test_autocast_is_compute_dtype(model, dtype):
    """Dense layers in half precision, the rest in float32, bit for bit: values, gradients, step form, any norm."""
    for settings in ({}, NETWORKS[1], NETWORKS[3], NETWORKS[5], {"norm": "batch", "norm_position": "both"}):
        settings = {**settings, "pooling": "none"} if model != "s5" else settings
        options, plain = built(SIDES[0], model, settings)
        _, truth = built(SIDES[0], model, settings, "float32", dtype)
        x = torch.tensor(small_batch(options, np.random.default_rng(1))[0])
        expected = results(truth, x, options.block.pool_size == 1)
        context = functools.partial(torch.autocast, "cpu", getattr(torch, dtype))
        found = results(plain, x, options.block.pool_size == 1, context)
        assert all(y.dtype == z.dtype and torch.equal(y, z) for y, z in zip(found, expected, strict=True))
        assert found[0].dtype == torch.float32


@pytest.mark.parametrize("case", LAYERS, ids=label)
def test_autocast_leaves_a_layer_alone(case):
    layer = SIDES[0].layer(case[0], 3, 8, 10, "fp32", **case[1])
    u = torch.randn(2, 11, 3, generator=torch.Generator().manual_seed(0))

    def made(context):
        with context:
            y, half = layer(u), layer(u.bfloat16())  # as an autocast network hands it on
            steps = [] if case[1].get("bidirectional") else [step_by_step(layer, u)]
        return [y.detach(), half, *steps, *torch.autograd.grad(y.square().sum(), list(layer.parameters()))]

    expected = made(contextlib.nullcontext())
    found = made(torch.autocast("cpu", torch.bfloat16))
    assert all(y.dtype == torch.float32 and torch.equal(y, z) for y, z in zip(found, expected, strict=True))


def test_autocast_leaves_float64_alone():
    options, model = built(SIDES[0], "s4", {}, "float64")
    x = torch.tensor(small_batch(options, np.random.default_rng(1))[0])
    expected = results(model, x, True)
    found = results(model, x, True, functools.partial(torch.autocast, "cpu", torch.bfloat16))
    assert all(torch.equal(y, z) for y, z in zip(found, expected, strict=True))


@models
def test_a_backward_pass_within_autocast_is_near(model):
    """Not what PyTorch recommends, and often done."""
    options, network = built(SIDES[0], model, {"norm": "batch"})
    x = torch.tensor(small_batch(options, np.random.default_rng(1))[0], dtype=torch.float32)
    parameters = list(network.parameters())
    expected = torch.autograd.grad(network(x).square().sum(), parameters)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(network(x).square().sum(), parameters)
    whole = torch.cat([slope.flatten() for slope in expected])
    assert (torch.cat([slope.flatten() for slope in found]) - whole).norm() < 0.05 * whole.norm()
    assert all(slope.dtype == torch.float32 for slope in found)


def test_autocast_switched_off_within_is_off():
    dense = Dense({"weight": np.ones((2, 3)), "bias": np.zeros(2)}, torch.float32)
    x = torch.ones(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert dense(x).dtype == torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            assert dense(x).dtype == torch.float32


@models
def test_autocast_compiles(model):
    options, network = built(SIDES[0], model, {})
    x = torch.tensor(small_batch(options, np.random.default_rng(1))[0], dtype=torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), network(x), rtol=1e-5, atol=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(compiled(x), network(x), rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(compiled(x), network(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", LAYERS, ids=label)
def test_the_default_type_changes_nothing(case, default):
    def made():
        layer = SIDES[0].layer(case[0], 3, 8, 10, "fp32", **case[1])
        u = torch.randn(2, 11, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        y = layer(u)
        whole = [y.detach(), *torch.autograd.grad(y.square().sum(), list(layer.parameters()))]
        return whole if case[1].get("bidirectional") else [*whole, step_by_step(layer, u)]

    expected = made()
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        found = made()
    finally:
        torch.set_default_dtype(before)
    assert all(y.dtype == torch.float32 and torch.equal(y, z) for y, z in zip(found, expected, strict=True))


@pytest.mark.parametrize("settings", NETWORKS, ids=label)
def test_the_default_type_changes_no_network(settings):
    def made():
        options, model = built(SIDES[0], "s5", settings)
        return results(model, torch.tensor(small_batch(options, np.random.default_rng(1))[0]), False)

    expected = made()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = made()
    finally:
        torch.set_default_dtype(before)
    assert all(y.dtype == z.dtype and torch.equal(y, z) for y, z in zip(found, expected, strict=True))


@models
def test_a_device_of_shapes_alone_gives_shape_and_type(model):
    options, network = built(SIDES[0], model, {"norm": "batch"})
    x = torch.tensor(small_batch(options, np.random.default_rng(1))[0]).to("meta")
    y = network.to("meta").eval()(x)
    assert (y.device.type, y.dtype, y.shape) == ("meta", torch.float32, (3, 5))


@models
def test_a_state_of_another_type_is_taken_in_the_own_one(model):
    options, single = built(SIDES[0], model, {"norm": "batch"})
    double = built(SIDES[0], model, {"norm": "batch"}, "float64")[1]
    with torch.no_grad():
        for value in double.parameters():
            value.mul_(1.01)
    single.load_state_dict(double.state_dict())
    x = torch.tensor(small_batch(options, np.random.default_rng(1))[0])
    y = single.eval()(x.float())
    assert y.dtype == torch.float32
    assert largest_error(numpy(y), numpy(double.eval()(x))) < BOUND["float32"]


def test_a_copy_is_its_own():
    options, model = built(SIDES[0], "dss", {"norm": "batch"})
    x = torch.tensor(small_batch(options, np.random.default_rng(1))[0])
    before = model(x).sum()
    before.backward()
    other = copy.deepcopy(model).double()
    assert other.eval()(x).dtype == torch.float64
    assert model.eval()(x).dtype == torch.float32
