"""The two adapters with the real models: the same arithmetic as AdamW in NumPy, the same curves, the
protocol's promises.
"""

from __future__ import annotations

import importlib

import jax
import numpy as np
import pytest
import torch
from numpy_framework import AdamW

from bench.framework import Group, ModelSpec, OptimiserSpec
from bench.measure.agreement import relative_error
from ssm.network import initial, network_options, ssm_parameter_names

FRAMEWORKS = ("torch", "jax")
COMPILE = {"torch": "none", "jax": "default"}
MODELS = ("s4", "dss", "s5")
LENGTH, CHANNELS, CLASSES, BATCH = 12, 2, 4, 6
GROUPS = [Group(["*.layer.B_*"], 0.0, 0.5), Group(["blocks.*.layer.*", "encoder.bias"], 5e-2)]


pytestmark = pytest.mark.usefixtures("settings_as_before")


def module(framework):
    return importlib.import_module(f"models_{framework}.adapter")


def model_spec(name="s5", **changes):
    settings = {"d_model": 8, "n_blocks": 1, "n": 8, **changes}
    options = network_options(name, CHANNELS, CLASSES, LENGTH, settings)
    return ModelSpec(name, options, initial(options, 0), ssm_parameter_names(options))


def build(framework, spec=None, optimiser=None, precision="fp64", seed=0, compile=None):
    adapter = module(framework).adapter("cpu", precision, 1, compile or COMPILE[framework])
    return adapter.build(spec or model_spec(), optimiser or OptimiserSpec(), seed)


def data(seed=0, count=BATCH):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((count, LENGTH, CHANNELS)).astype(np.float32)
    return inputs, rng.integers(0, CLASSES, count).astype(np.int32)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("groups", [[], GROUPS], ids=["two", "more"])
def test_optimiser_is_adamw_in_float64(framework, clip_norm, groups):
    """Gradients from the trainer itself, the update from NumPy: rates, decay, groups, clipping, scale."""
    spec = model_spec()
    optimiser = OptimiserSpec(rate=1e-2, ssm_rate=3e-3, weight_decay=0.1, clip_norm=clip_norm, groups=groups)
    trainer, oracle = build(framework, spec, optimiser), AdamW(optimiser, spec.ssm_names)
    parameters = {name: value.copy() for name, value in trainer.state().items()}
    for step in range(5):
        batch, scale = trainer.put(*data(step)), 1.0 / (step + 1)
        traced = trainer.trace(batch)
        gradients = {name: traced[f"gradient.{name}"] for name in parameters}
        oracle.step(parameters, gradients, scale)
        trainer.train_step(batch, scale)
        after = trainer.state()
        for name, value in parameters.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-11, atol=1e-12, err_msg=name)


def test_the_first_group_that_holds_a_parameter_decides_its_rate():
    optimiser = OptimiserSpec(rate=1e-2, ssm_rate=1e-3, weight_decay=0.1, groups=GROUPS)
    assert optimiser.of("blocks.0.layer.B_re", ssm=True) == (0.0, 0.5)
    assert optimiser.of("blocks.0.layer.C_re", ssm=False) == (5e-2, 0.0)
    assert optimiser.of("blocks.0.layer.Lambda_re", ssm=True) == (5e-2, 0.0)
    assert optimiser.of("decoder.weight", ssm=False) == (1e-2, 0.1)
    assert OptimiserSpec(ssm_rate=1e-3).of("blocks.0.layer.B_re", ssm=True) == (1e-3, 0.0)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_rate_of_0_freezes(framework):
    trainer = build(framework, optimiser=OptimiserSpec(groups=[Group(["blocks.*"], 0.0, 0.1)]))
    before = trainer.state()
    trainer.train_step(trainer.put(*data()), 1.0)
    for name, value in trainer.state().items():
        assert np.array_equal(value, before[name]) == name.startswith("blocks."), name


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", MODELS)
def test_accumulated_gradients_are_those_of_the_whole_batch(framework, name):
    """Without batch norm, whose figures are of each part: there the running statistics move once for each."""
    whole, parts = (
        build(framework, model_spec(name), OptimiserSpec(accumulate=count, clip_norm=0.1)) for count in (1, 3)
    )
    for step in range(3):
        metrics = [trainer.read(trainer.train_step(trainer.put(*data(step)), 1.0)) for trainer in (whole, parts)]
        np.testing.assert_allclose(*metrics, rtol=1e-10)
    for own, value in whole.state().items():
        np.testing.assert_allclose(parts.state()[own], value, rtol=1e-9, atol=1e-12, err_msg=own)


def test_with_batch_norm_both_frameworks_accumulate_alike():
    trainers = [
        build(framework, model_spec("s5", norm="batch"), OptimiserSpec(accumulate=2)) for framework in FRAMEWORKS
    ]
    for step in range(3):
        metrics = [trainer.read(trainer.train_step(trainer.put(*data(step)), 1.0)) for trainer in trainers]
        np.testing.assert_allclose(*metrics, rtol=1e-9)
    one, other = (trainer.state() for trainer in trainers)
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-8, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_first_step_in_float32_is_right_to_six_digits(framework):
    """optax's own bias correction in float32 would miss this by 2e-5 of the step."""
    optimiser = OptimiserSpec(rate=1e-2, weight_decay=0.0)
    trainer = build(framework, optimiser=optimiser, precision="fp32")
    before, batch = trainer.state(), trainer.put(*data())
    gradient = trainer.trace(batch)["gradient.decoder.bias"]
    trainer.train_step(batch, 1.0)
    moved = trainer.state()["decoder.bias"].astype(np.float64) - before["decoder.bias"]
    np.testing.assert_allclose(moved, -1e-2 * np.sign(gradient), rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_loss_curves_of_both_frameworks_agree_over_50_steps_in_fp64(name):
    curves = []
    for framework in FRAMEWORKS:
        trainer = build(framework, model_spec(name, norm="batch", n_blocks=2))
        batches = [trainer.put(*data(step)) for step in range(5)]
        curves.append(trainer.read_all([trainer.train_step(batches[step % 5], 1.0) for step in range(50)]))
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-6)
    assert curves[0][-1][0] < curves[0][0][0]


@pytest.mark.parametrize("changes", [{}, {"norm": "batch"}, {"readout": "none"}, {"encoder": "embedding"}])
def test_traces_agree_name_for_name(changes):
    spec = model_spec(n_blocks=2, **changes)
    inputs, targets = data()
    if changes.get("readout") == "none":
        targets = np.random.default_rng(1).integers(0, CLASSES, (BATCH, LENGTH)).astype(np.int32)
    if changes.get("encoder") == "embedding":
        inputs = np.random.default_rng(1).integers(0, CHANNELS, (BATCH, LENGTH)).astype(np.int32)
    traces, states = [], []
    for framework in FRAMEWORKS:
        trainer = build(framework, spec)
        before = trainer.state()
        traces.append(trainer.trace(trainer.put(inputs, targets)))
        states.append(trainer.state())
        assert all(np.array_equal(before[name], states[-1][name]) for name in before), "trace moved the state"
    assert traces[0].keys() == traces[1].keys()
    assert states[0].keys() == states[1].keys() == spec.values.keys()
    for name, value in traces[0].items():
        if np.linalg.norm(value) > 1e-14:
            assert relative_error(value, traces[1][name]) < 1e-9, name


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_evaluation_counts_the_first_rows_only(framework):
    trainer = build(framework, model_spec(norm="batch", dropout=0.5))
    inputs, targets = data()
    padded = inputs.copy()
    padded[4:] = np.nan
    whole = trainer.read(trainer.evaluate(trainer.put(inputs, targets), BATCH))
    part = trainer.read(trainer.evaluate(trainer.put(padded, targets), 4))
    logits = np.asarray(trainer.forward(trainer.put(inputs, targets)))
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    rows = np.arange(BATCH)
    assert whole[0] == pytest.approx(-logs[rows, targets].sum())
    assert part[0] == pytest.approx(-logs[rows, targets][:4].sum())
    assert part[1] == (logits.argmax(1) == targets)[:4].sum()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_state_is_a_copy_and_restores_exactly(framework):
    trainer = build(framework, model_spec(norm="batch"))
    batch = trainer.put(*data())
    trainer.train_step(batch, 1.0)
    kept = trainer.state()
    frozen = {name: value.copy() for name, value in kept.items()}
    reference = trainer.read(trainer.evaluate(batch, BATCH))
    for _ in range(3):
        trainer.train_step(batch, 1.0)
    assert trainer.read(trainer.evaluate(batch, BATCH)) != reference
    trainer.restore(kept)
    trainer.train_step(batch, 0.0)
    trainer.restore(kept)
    assert trainer.read(trainer.evaluate(batch, BATCH)) == reference
    assert all(np.array_equal(kept[name], frozen[name]) for name in kept)
    with pytest.raises(ValueError, match="one side only"):
        trainer.restore({"weight": np.zeros(1)})


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_held_rows_are_the_rows_put(framework):
    trainer = build(framework)
    inputs, targets = data(count=20)
    rows = np.array([3, 19, 0, 3, 7, 11])
    taken, put = trainer.take(trainer.hold(inputs, targets), rows), trainer.put(inputs[rows], targets[rows])
    for a, b in zip(taken, put, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", MODELS)
def test_recurrence_gives_the_logits_of_the_whole_sequence(framework, name):
    trainer = build(framework, model_spec(name, readout="last", n_blocks=2))
    inputs, targets = data()
    trainer.start_recurrence(BATCH)
    for step in range(LENGTH):
        logits = trainer.recurrent_step(trainer.put_step(inputs[:, step]))
    trainer.wait(logits)
    whole = np.asarray(trainer.forward(trainer.put(inputs, targets)))
    assert relative_error(np.asarray(logits), whole) < 1e-9


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("changes", [{"pooling": "avg_2"}, {"bidirectional": True}])
def test_a_model_without_a_step_form_says_so(framework, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        build(framework, model_spec(**changes)).start_recurrence(2)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_dropout_follows_the_seed(framework):
    def loss(seed):
        trainer = build(framework, model_spec(dropout=0.5), seed=seed)
        inputs, targets = data()
        batch = trainer.put(inputs[:, :2], targets)  # a short scan compiles sooner
        return [trainer.read(trainer.train_step(batch, 0.0))[0] for _ in range(2)]

    first = loss(0)
    assert first == loss(0)
    assert first != loss(1)
    assert first[0] != first[1]


def test_jax_compiles_each_shape_once():
    trainer = build("jax")
    assert trainer.compilations() == 0
    assert trainer.compiled_bytes() is None
    batch = trainer.put(*data())
    for scale in (1.0, 0.5, 0.25):
        trainer.train_step(batch, scale)
    for count in (1, 2, BATCH):
        trainer.evaluate(batch, count)
    assert trainer.compilations() == 2
    assert trainer.compiled_bytes() > 0
    assert trainer.compilations() == 2
    trainer.train_step(trainer.put(*data(count=3)), 1.0)
    assert trainer.compilations() == 3


def test_torch_eager_compiles_nothing():
    trainer = build("torch")
    trainer.train_step(trainer.put(*data()), 1.0)
    assert trainer.compilations() == 0
    assert trainer.peak_bytes() is None
    assert trainer.compiled_bytes() is None


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_bf16_and_fp32_train(framework):
    for precision in ("fp32", "bf16"):
        trainer = build(framework, precision=precision)
        batch = trainer.put(*data())
        losses = [trainer.read(trainer.train_step(batch, 1.0))[0] for _ in range(20)]
        assert np.isfinite(losses).all()
        assert losses[-1] < losses[0]
        assert all(value.dtype == np.float32 for value in trainer.state().values())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_precision_is_set_not_left_to_the_default(framework):
    module(framework).adapter("cpu", "fp32", 1, COMPILE[framework])
    if framework == "torch":
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_num_threads() == 1
    else:
        assert jax.config.jax_default_matmul_precision == "highest"


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("tpu", "fp32", 1), "hardware='tpu'"),
        (("cpu", "fp16", 1), "precision='fp16'"),
        (("cpu", "tf32", 1), "precision='tf32'"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(framework, arguments, named):
    with pytest.raises(ValueError, match=named):
        module(framework).adapter(*arguments, COMPILE[framework])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_absent_gpu_is_an_error_never_a_cpu_run(framework):
    if torch.cuda.is_available() or any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a GPU here")
    with pytest.raises(ValueError, match="hardware='gpu'"):
        module(framework).adapter("gpu", "fp32", 1, COMPILE[framework])
    assert module(framework).adapter("auto", "fp32", 1, COMPILE[framework]).device()["kind"] == "cpu"


def test_jax_without_its_cuda_plugin_says_how_to_get_it(monkeypatch):
    """JAX_PLATFORMS=cuda makes JAX raise an error of its own there."""

    def raises():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(jax, "local_devices", raises)
    with pytest.raises(ValueError, match=r"hardware='gpu'.*jax\[cuda13\], or choose hardware=cpu"):
        module("jax").adapter("gpu", "fp32", 1, "default")


def test_jax_without_jit_is_refused():
    with pytest.raises(ValueError, match=r"framework\.compile=none"):
        module("jax").adapter("cpu", "fp32", 1, "none")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_out_of_memory_is_told_apart(framework):
    adapter = module(framework).adapter("cpu", "fp32", 1, COMPILE[framework])
    assert adapter.is_out_of_memory(MemoryError())
    assert not adapter.is_out_of_memory(ValueError("no"))
    assert not adapter.is_out_of_memory(RuntimeError("no"))


def test_torch_cpu_allocator_is_out_of_memory():
    adapter = module("torch").adapter("cpu", "fp32", 1, "none")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert adapter.is_out_of_memory(caught.value)


def test_jax_allocator_is_out_of_memory():
    adapter = module("jax").adapter("cpu", "fp32", 1, "default")
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jax.block_until_ready(jax.jit(lambda: jax.numpy.ones(2**58, "uint8"))())
    assert adapter.is_out_of_memory(caught.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # Dynamo's own
def test_compiled_torch_computes_what_eager_does_and_counts_its_graphs():
    traces, losses, steps = [], [], []
    for compile in ("none", "default"):
        trainer = build("torch", model_spec("s5"), precision="fp32", compile=compile)
        batch = trainer.put(*data())
        traces.append(trainer.trace(batch))
        compiled = trainer.compilations()
        losses.append([trainer.read(trainer.train_step(batch, 1.0))[0] for _ in range(3)])
        assert trainer.compilations() == compiled  # a trace is of the program that trains
        trainer.start_recurrence(BATCH)
        step = trainer.put_step(data()[0][:, 0])
        steps.append([np.asarray(trainer.recurrent_step(step)) for _ in range(3)])
    assert trainer.compilations() > compiled > 0
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-4, atol=1e-5)
    for name, value in traces[0].items():
        np.testing.assert_allclose(traces[1][name], value, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("before", [0, 2])
def test_what_was_kept_is_put_back_with_moments_and_dropout(framework, before):
    """The same steps again, bit for bit, as often as asked; also from before the first step, without any moments."""
    trainer = build(framework, model_spec("s5", dropout=0.3, norm="batch"), precision="fp32")
    batches = [trainer.put(*data(step)) for step in range(3)]
    for batch in batches[:before]:
        trainer.train_step(batch, 1.0)
    kept = trainer.state()
    trainer.keep()
    runs = []
    for _ in range(3):
        losses = trainer.read_all([trainer.train_step(batch, 1.0) for batch in batches])
        runs.append((losses, trainer.state()))
        trainer.put_back()
        assert all(np.array_equal(kept[name], value) for name, value in trainer.state().items())
    for losses, state in runs[1:]:
        assert losses == runs[0][0]
        assert all(np.array_equal(runs[0][1][name], value) for name, value in state.items())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", MODELS)
def test_a_recurrence_that_was_kept_is_put_back(framework, name):
    trainer = build(framework, model_spec(name))
    steps = [trainer.put_step(data(step)[0][:, 0]) for step in range(3)]
    trainer.start_recurrence(BATCH)
    trainer.recurrent_step(steps[0])
    trainer.keep()
    first = [trainer.read_logits(trainer.recurrent_step(step)) for step in steps]
    trainer.put_back()
    again = [trainer.read_logits(trainer.recurrent_step(step)) for step in steps]
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
