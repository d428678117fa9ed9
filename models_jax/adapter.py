"""JAX behind the bench's protocol (bench/framework.py). Mirrors models_torch/adapter.py.

The hot path is plain functions under jax.jit over plain dictionaries of arrays: nnx.split once, nnx.merge
while tracing. Steps are queued; nothing here waits for the device but wait, read, state and trace.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
from flax import nnx

from bench.framework import ModelSpec, OptimiserSpec, check_snapshot
from models_jax import functional
from models_jax.network import SequenceModel
from settings.errors import SettingError

Pair = tuple[jax.Array, jax.Array]
PRECISIONS = ("fp32", "fp64", "tf32", "bf16")
COMPILE = ("default",)


def adapter(hardware: str, precision: str, threads: int, compile: str) -> Adapter:
    """Sets device and precision for the whole process. ValueError for what this machine or JAX cannot do.

    XLA reads its number of threads from the environment when the process starts, so `threads` is set by who
    starts it (bench/runs/job.py) and nothing is left to do here.
    """
    if compile not in COMPILE:
        raise ValueError(f"framework.compile={compile}: JAX is timed under jit, choose default")
    device = _device(hardware)
    if precision not in PRECISIONS:
        raise SettingError("precision", precision, "unknown", f"choose one of {', '.join(PRECISIONS)}")
    if precision == "tf32" and device.platform == "cpu":
        raise SettingError("precision", "tf32", "a CPU has no TF32", "choose fp32, or hardware=gpu.")
    if precision == "fp64":
        jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if precision == "tf32" else "highest")
    jax.jit(jnp.negative)(0.0)  # imports the compiler: here, before the bench reads memory's baseline
    return Adapter(device, precision)


def _device(hardware: str) -> jax.Device:
    if hardware not in ("auto", "cpu", "gpu"):
        raise SettingError("hardware", hardware, "unknown", "choose one of auto, cpu, gpu.")
    if hardware == "cpu":
        return jax.local_devices(backend="cpu")[0]
    try:
        present = jax.local_devices()
    except RuntimeError:  # JAX_PLATFORMS=cuda, and JAX without its CUDA plugin
        if hardware != "gpu":
            raise
        present = []
    gpus = [device for device in present if device.platform == "gpu"]
    if hardware == "gpu" and not gpus:
        raise SettingError(
            "hardware",
            "gpu",
            "JAX sees no GPU here (hardware=auto means it where the machine has one)",
            "install jax[cuda13], or choose hardware=cpu.",
        )
    return (gpus or present)[0]


@dataclass(frozen=True)
class Adapter:
    """See bench.framework.Adapter."""

    jax_device: jax.Device
    precision: str
    name: str = "jax"

    def versions(self) -> dict[str, str]:
        packages = {"jax": jax, "jaxlib": jaxlib, "flax": flax, "optax": optax, "numpy": np}
        versions = {name: package.__version__ for name, package in packages.items()}
        if self.jax_device.platform == "gpu":
            versions["cuda"] = self.jax_device.client.platform_version.splitlines()[-1]
        return versions | {"python": platform.python_version()}

    def device(self) -> dict[str, Any]:
        if self.jax_device.platform == "cpu":
            return {"kind": "cpu", "name": platform.processor() or platform.machine(), "memory_bytes": None}
        return {
            "kind": "gpu",
            "name": self.jax_device.device_kind,
            "memory_bytes": (self.jax_device.memory_stats() or {}).get("bytes_limit"),
        }

    def build(self, model: ModelSpec, optimiser: OptimiserSpec, seed: int) -> Trainer:
        dtype = jnp.float64 if self.precision == "fp64" else jnp.float32
        compute = jnp.bfloat16 if self.precision == "bf16" else None
        with jax.default_device(self.jax_device):
            network = SequenceModel(model.options, model.values, dtype, compute)
            return Trainer(network, model, optimiser, seed, dtype, self.jax_device)

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError) or (
            isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
        )


def dropout_key(seed: int) -> jax.Array:
    """The key of all 64 bits of a seed: without x64, jax.random.key takes the lower 32, so that 2**32 would be 0."""
    words = np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)
    return jax.random.wrap_key_data(words, impl="threefry2x32")


class Trainer:
    """See bench.framework.Trainer."""

    def __init__(
        self,
        model: nnx.Module,
        spec: ModelSpec,
        optimiser: OptimiserSpec,
        seed: int,
        dtype: Any,
        device: jax.Device,
    ) -> None:
        self.dtype, self.device = dtype, device
        self.names = list(spec.values)
        graphdef, parameters, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)
        self.network = functional.Network(graphdef, parameters, statistics, dtype)
        self.parameters = jax.device_put(functional.arrays(parameters), device)
        self.statistics = jax.device_put(functional.arrays(statistics), device)
        first, second = (jax.tree.map(jnp.zeros_like, self.parameters) for _ in range(2))
        self.moments = jax.device_put({"count": jnp.zeros((), jnp.int32), "first": first, "second": second}, device)
        self.key = jax.device_put(dropout_key(seed), device)

        update = partial(functional.update, optimiser=optimiser, ssm_names=spec.ssm_names)
        # Parameters, statistics and moments are donated: updated in place, not copied.
        train = partial(functional.train, self.network, update, parts=optimiser.accumulate)
        self._train = jax.jit(train, donate_argnums=(0, 1, 2))
        self._evaluate = jax.jit(partial(functional.evaluate, self.network))
        self._forward = jax.jit(self.network.logits)
        self._discretise = jax.jit(self.network.discretised)
        self._step = jax.jit(self.network.step, donate_argnums=3)
        self._trace = jax.jit(partial(functional.trace, self.network))
        # A function of this trainer's own: jit keeps, and counts, its programs by function.
        self._take = jax.jit(partial(functional.take))
        self._last_batch: Pair | None = None
        self.recurrence: Any = None

    def put(self, inputs: np.ndarray, targets: np.ndarray) -> Pair:
        return self.put_step(inputs), jax.device_put(np.asarray(targets, np.int32), self.device)

    def put_step(self, inputs: np.ndarray) -> jax.Array:
        dtype = self.dtype if np.issubdtype(inputs.dtype, np.floating) else np.int32
        return jax.device_put(np.asarray(inputs, dtype), self.device)

    def hold(self, inputs: np.ndarray, targets: np.ndarray) -> Pair:
        return self.put(inputs, targets)

    def take(self, held: Pair, indices: np.ndarray) -> Pair:
        return self._take(held, np.asarray(indices, np.int32))

    def compile(self, batch: Pair) -> bool:
        self._program(batch)
        return True

    def train_step(self, batch: Pair, scale: float) -> jax.Array:
        self._last_batch = batch
        self.parameters, self.statistics, self.moments, metrics = self._train(
            self.parameters, self.statistics, self.moments, self.key, batch, float(scale)
        )
        return metrics

    def _program(self, batch: Pair) -> Any:
        """The train step's executable for batches of this shape; JAX keeps it, and compiles it once."""
        arguments = (self.parameters, self.statistics, self.moments, self.key, batch, 1.0)
        return self._train.lower(*arguments).compile()

    def evaluate(self, batch: Pair, count: int) -> jax.Array:
        return self._evaluate(self.parameters, self.statistics, batch, int(count))

    def forward(self, batch: Pair) -> jax.Array:
        return self._forward(self.parameters, self.statistics, batch[0])

    def start_recurrence(self, batch_size: int) -> None:
        self.constants = self._discretise(self.parameters, self.statistics)
        self.recurrence = jax.device_put(
            self.network.initial_state(self.parameters, self.statistics, batch_size), self.device
        )

    def recurrent_step(self, inputs: jax.Array) -> jax.Array:
        logits, self.recurrence = self._step(self.parameters, self.statistics, inputs, self.recurrence, self.constants)
        return logits

    def wait(self, handle: Any) -> None:
        jax.block_until_ready(handle)

    def read(self, metrics: jax.Array) -> tuple[float, float]:
        loss, correct = np.asarray(metrics).tolist()
        return loss, correct

    def read_logits(self, handle: jax.Array) -> np.ndarray:
        return np.asarray(handle)

    def read_all(self, metrics: Sequence[jax.Array]) -> list[tuple[float, float]]:
        return [(float(loss), float(correct)) for loss, correct in jax.device_get(list(metrics))]

    def state(self) -> dict[str, np.ndarray]:
        # Copies: the next step donates these buffers, and on a CPU NumPy would look into them.
        arrays = {**self.parameters, **self.statistics}
        return {name: np.array(arrays[name]) for name in self.names}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        names = self.parameters.keys() | self.statistics.keys()
        if names != state.keys():
            raise ValueError(f"state: names {sorted(names ^ state.keys())} are on one side only")
        # jnp.array copies: a donated buffer must not be the caller's memory.
        put = {name: jax.device_put(jnp.array(value), self.device) for name, value in state.items()}
        self.parameters = {name: put[name] for name in self.parameters}
        self.statistics = {name: put[name] for name in self.statistics}

    def snapshot(self) -> dict[str, np.ndarray]:
        found = {f"parameter.{name}": value for name, value in self.parameters.items()}
        found |= {f"statistic.{name}": value for name, value in self.statistics.items()}
        for kind in ("first", "second"):
            found |= {f"{kind}.{name}": value for name, value in self.moments[kind].items()}
        # Copies: the next step donates these buffers. Dropout's key is the seed's, and the count says which step's.
        arrays = {name: np.array(value) for name, value in found.items()}
        return arrays | {"count": np.asarray(self.moments["count"], np.int64)}

    def resume(self, snapshot: Mapping[str, np.ndarray]) -> None:
        own = self.snapshot()
        check_snapshot(own, snapshot)
        # jnp.array copies: a donated buffer must not be the caller's memory.
        put = {
            name: jax.device_put(jnp.array(np.asarray(snapshot[name], value.dtype)), self.device)
            for name, value in own.items()
            if name != "count"
        }
        self.parameters = {name: put[f"parameter.{name}"] for name in self.parameters}
        self.statistics = {name: put[f"statistic.{name}"] for name in self.statistics}
        moments: dict[str, Any] = {
            kind: {name: put[f"{kind}.{name}"] for name in self.parameters} for kind in ("first", "second")
        }
        count = jax.device_put(jnp.array(int(snapshot["count"]), jnp.int32), self.device)
        self.moments = moments | {"count": count}

    def keep(self) -> None:
        self.kept = _copied(self._changing())

    def put_back(self) -> None:
        # A copy each time: the next step donates what it is given.
        self.parameters, self.statistics, self.moments, self.recurrence = jax.block_until_ready(_copied(self.kept))

    def _changing(self) -> tuple[Any, ...]:
        """Everything that a step makes anew. Dropout's key stays; a step draws from it by the moments' count."""
        return self.parameters, self.statistics, self.moments, self.recurrence

    def trace(self, batch: Pair) -> dict[str, np.ndarray]:
        outputs, logits, loss, gradients = self._trace(self.parameters, self.statistics, batch)
        tensors = dict(zip(_output_names(len(outputs)), outputs, strict=True)) | {
            "logits": logits,
            "loss": loss,
        }
        tensors |= {f"gradient.{name}": value for name, value in gradients.items()}
        return {name: np.array(value, np.float64) for name, value in tensors.items()}

    def compilations(self) -> int:
        jitted = (
            self._train,
            self._evaluate,
            self._forward,
            self._discretise,
            self._step,
            self._trace,
            self._take,
        )
        return sum(function._cache_size() for function in jitted)

    def peak_bytes(self) -> int | None:
        statistics = self.device.memory_stats() if self.device.platform == "gpu" else None
        return None if statistics is None else int(statistics["peak_bytes_in_use"])

    def compiled_bytes(self) -> int | None:
        if self._last_batch is None:
            return None
        analysis = self._program(self._last_batch).memory_analysis()
        if analysis is None:
            return None
        sizes = analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes
        return int(sizes - analysis.alias_size_in_bytes)


def _copied(arrays: Any) -> Any:
    return jax.tree.map(jnp.copy, arrays)


def _output_names(count: int) -> list[str]:
    return ["output.encoder", *(f"output.blocks.{index}" for index in range(count - 1))]
