"""Each layer against the exact recurrence in float64: both forms, both frameworks, both precisions, any length."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from cases import LAYERS, SIDES, exact, label, largest_error, parameters, small_batch, small_network
from flax import nnx

import models_jax
from ssm import dss, s4, s5

SEQUENCE_BOUND = {"fp64": 1e-9, "fp32": 1e-4}
STEP_BOUND = {"fp64": 1e-9, "fp32": {"s4": 1e-3, "dss": 1e-4, "s5": 1e-4}}


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
@pytest.mark.parametrize("case", LAYERS, ids=label)
def test_both_forms_are_the_exact_recurrence(case, side, precision):
    model, settings = case
    rng = np.random.default_rng(2)
    # shorter and longer than built for (odd), prime, 1
    for l_max, length in ((97, 63), (40, 61), (1, 1)) if precision == "fp64" else ((97, 63),):
        layer = side.layer(model, 3, 8, l_max, precision, **settings)
        u = rng.standard_normal((2, length, 3))
        truth = exact(layer, u)
        assert largest_error(side.over_sequence(layer, u), truth) < SEQUENCE_BOUND[precision]
        bound = STEP_BOUND[precision] if precision == "fp64" else STEP_BOUND[precision][model]
        if not settings.get("bidirectional") and length != 61:  # steps don't know what the layer was built for
            assert largest_error(side.step_by_step(layer, u), truth) < bound


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
@pytest.mark.parametrize("model", ["s4", "dss", "s5"])
def test_784_steps_with_64_states(model, side, precision):
    layer = side.layer(model, 4, 64, 784, precision)
    u = np.random.default_rng(3).standard_normal((1, 784, 4))
    truth = exact(layer, u)
    assert largest_error(side.over_sequence(layer, u), truth) < SEQUENCE_BOUND[precision]
    bound = STEP_BOUND[precision] if precision == "fp64" else STEP_BOUND[precision][model]
    assert largest_error(side.step_by_step(layer, u), truth) < bound


def channel_error(found: np.ndarray, truth: np.ndarray) -> float:
    """The worst channel's largest error, relative to that channel's largest value."""
    return float((np.abs(found - truth).max(-1) / np.abs(truth).max(-1)).max())


def with_values(layer, values):
    for name, value in values.items():
        held = getattr(layer, name)
        if isinstance(held, torch.nn.Parameter):
            held.data = torch.tensor(value, dtype=held.dtype)
        else:
            held[...] = jnp.asarray(value, held[...].dtype)
    return layer


@pytest.mark.parametrize("precision,bound", [("fp64", 1e-9), ("fp32", 2e-4)])
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_s4_kernel_against_the_reference(golden, side, precision, bound):
    reference = golden("s4_dplr")
    half = {"C": reference["Ctilde_L784_dense64"], "P": reference["N64_P"][None, None], "B": reference["N64_B"][None]}
    values = {"Lambda_re": np.log(-reference["N64_w"].real)[None], "Lambda_im": reference["N64_w"].imag[None]}
    values |= {"log_dt": np.log(reference["dt"])}
    values |= {name + "_re": value.real for name, value in half.items()}
    values |= {name + "_im": value.imag for name, value in half.items()}
    layer = with_values(side.layer("s4", 4, 64, 784, precision), values)
    assert channel_error(side.kernels(layer, 784)[0], reference["K_L784_dense64"]) < bound
    assert channel_error(side.kernels(layer, 64)[0], reference["K_L64_dense64"]) < bound


@pytest.mark.parametrize("precision,bound", [("fp64", 1e-9), ("fp32", 1e-4)])
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
@pytest.mark.parametrize("variant", dss.VARIANTS)
def test_dss_kernels_against_the_reference(golden, variant, side, precision, bound):
    reference = golden("dss")
    lam, w = reference["Lambda"], reference["W"]
    values = {"Lambda_re": (np.log(-lam.real) if variant == "exp" else lam.real)[None], "Lambda_im": lam.imag[None]}
    values |= {"W_re": w.real, "W_im": w.imag, "log_dt": np.log(reference["step"])}
    layer = side.layer("dss", 4, 64, 784, precision, variant=variant, conj_sym=False)
    found = side.kernels(with_values(layer, values), 784)[0]
    assert channel_error(found, reference[f"K_{variant}_np64"]) < bound


@pytest.mark.parametrize("precision,bound", [("fp64", 1e-9), ("fp32", 1e-4)])
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_s5_against_the_reference(golden, side, precision, bound):
    reference = golden("s5")
    pairs = {"Lambda": "J1_Lambda", "B": "J1_B_tilde", "C": "J1_C_tilde_fwd"}
    values = {f"{name}_re": reference[key].real for name, key in pairs.items()}
    values |= {f"{name}_im": reference[key].imag for name, key in pairs.items()}
    values |= {"log_dt": np.log(reference["J1_Delta"]), "D": np.zeros(16)}
    layer = with_values(side.layer("s5", 16, 64, 128, precision), values)
    u = reference["J1_u"][None]
    assert largest_error(side.over_sequence(layer, u)[0], reference["J1_zoh_y_uni_np64"]) < bound
    assert largest_error(side.step_by_step(layer, u)[0], reference["J1_zoh_y_uni_np64"]) < bound
    states = s5.states(s5.Options(16, 64, 128), parameters(layer), u)[0]
    assert largest_error(states, reference["J1_zoh_states_fwd_np64"]) < bound


@pytest.mark.parametrize("length", [783, 784])
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_s4_has_no_pole_at_the_nyquist_frequency(side, length):
    """1 + z = 0 at the middle of an even length; the kernel there must be as good as at odd lengths."""
    layer = side.layer("s4", 4, 64, length, "fp32")
    truth = s4.kernels(layer.options, parameters(layer), length)
    assert channel_error(side.kernels(layer, length)[0], truth[0]) < 2e-4


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_softmax_is_safe_in_both_tails(side):
    """Real parts of either sign, large enough that exp(|Re lambda| dt L) overflows float32."""
    layer = side.layer("dss", 2, 4, 600, "fp32", variant="softmax", conj_sym=False)
    values = {"Lambda_re": np.array([[-9.0, -2.0, 2.0, 9.0]]), "Lambda_im": np.array([[3.0, 1.0, 1.0, 3.0]])}
    layer = with_values(layer, values | {"log_dt": np.log(np.array([0.05, 0.1]))})
    u = np.random.default_rng(0).standard_normal((1, 600, 2))
    truth = exact(layer, u)
    assert largest_error(side.over_sequence(layer, u), truth) < 1e-4
    assert largest_error(side.step_by_step(layer, u), truth) < 1e-4


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_bidirectional_counts_lag_zero_in_both_directions(side):
    for model in ("s4", "dss", "s5"):
        layer = side.layer(model, 2, 4, 9, "fp64", bidirectional=True)
        impulse = np.zeros((1, 9, 2))
        impulse[:, 4] = 1.0
        y = side.over_sequence(layer, impulse)
        assert largest_error(y, exact(layer, impulse)) < 1e-12
        assert np.all(np.abs(y) > 1e-9)  # reaches both ends


def step_through(side, options, x):
    """The network one step at a time: (B, L, d_output)."""
    network = __import__(f"models_{side.name}.network", fromlist=["SequenceModel"])
    from ssm.network import initial

    model = network.SequenceModel(options, initial(options, 0), side.dtype("fp64"))
    tensor = torch.tensor if side.name == "torch" else jnp.asarray
    if side.name == "torch":
        model.eval()
    constants, state, taken = model.discretised(), model.initial_state(len(x)), []
    for index in range(x.shape[1]):
        y, state = model.step(tensor(x[:, index]), state, constants)
        taken.append(y.detach().numpy() if side.name == "torch" else np.asarray(y))
    whole = model(tensor(x))
    return np.stack(taken, 1), whole.detach().numpy() if side.name == "torch" else np.asarray(whole)


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
@pytest.mark.parametrize("model", ["s4", "dss", "s5"])
@pytest.mark.parametrize(
    "settings",
    [
        {"readout": "none", "norm": "batch", "norm_position": "both", "activation": "full_glu"},
        {"readout": "last", "encoder": "embedding", "norm_position": "pre"},
    ],
    ids=label,
)
def test_the_whole_network_one_step_at_a_time(settings, model, side):
    options = small_network(model, settings, length=11)
    x, _ = small_batch(options, np.random.default_rng(5))
    taken, whole = step_through(side, options, x)
    assert largest_error(taken if settings["readout"] == "none" else taken[:, -1], whole) < 1e-10


def test_jax_calls_no_lapack_in_the_step_form():
    """jaxlib's batched LAPACK calls can wait for each other for ever on a pool of 2 threads, one call a block."""
    model = models_jax.S4Model(1, 4, 3, 2, 8, 16, rank=2)
    graph, state = nnx.split(model)
    jitted = jax.jit(lambda state: nnx.merge(graph, state).discretised())
    assert "lapack" not in jitted.lower(state).as_text().lower()


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_no_step_form_without_every_step_or_with_a_future(side):
    with pytest.raises(ValueError, match=r"pooling='avg_2'.*pooling=none"):
        step_through(side, small_network("dss", {"pooling": "avg_2"}), np.zeros((1, 29, 2)))
    with pytest.raises(ValueError, match=r"bidirectional=True.*bidirectional=False"):
        step_through(side, small_network("s5", {"bidirectional": True}), np.zeros((1, 29, 2)))


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_step_sizes_are_right_to_the_last_bit(side):
    """The frameworks' own float32 exponentials are off by more than one unit there, each in other places."""
    log_dt = np.random.default_rng(0).uniform(-12.0, 3.0, 200_000).astype(np.float32)
    layer = __import__(f"models_{side.name}.layer", fromlist=["step_sizes"])
    found = np.asarray(layer.step_sizes(torch.tensor(log_dt) if side.name == "torch" else jnp.asarray(log_dt)))
    truth = np.exp(log_dt.astype(np.float64))
    assert found.dtype == np.float32
    assert (np.abs(found - truth) / np.spacing(found)).max() < 0.75
