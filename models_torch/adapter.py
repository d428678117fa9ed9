"""PyTorch behind the bench's protocol (bench/framework.py). Mirrors models_jax/adapter.py.

Steps are queued: on a GPU nothing here waits for the device; on a CPU PyTorch computes at once and there is
nothing to wait for.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch._dynamo.utils import counters  # the first optimiser imports it too: the bench's memory baseline is later

from bench.framework import ModelSpec, OptimiserSpec, check_snapshot
from models_torch import functional
from models_torch.network import SequenceModel
from settings.errors import SettingError

Pair = tuple[torch.Tensor, torch.Tensor]
PRECISIONS = ("fp32", "fp64", "tf32", "bf16")
COMPILE = ("none", "default")
MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq"}  # AdamW's, as snapshots and as torch.optim call them


def adapter(hardware: str, precision: str, threads: int, compile: str) -> Adapter:
    """Sets device, precision and threads for the whole process. ValueError for what this machine or
    PyTorch cannot do.
    """
    if compile not in COMPILE:
        raise ValueError(f"framework.compile={compile}: PyTorch knows {' and '.join(COMPILE)} (none is eager)")
    device = _device(hardware)
    if compile == "default":
        from torch._inductor import compile_fx  # noqa: F401 - now, as the bench reads memory's baseline next
    if precision not in PRECISIONS:
        raise SettingError("precision", precision, "unknown", f"choose one of {', '.join(PRECISIONS)}")
    if precision == "tf32" and device.type == "cpu":
        raise SettingError("precision", "tf32", "a CPU has no TF32", "choose fp32, or hardware=gpu.")
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return Adapter(device, precision, compile)


def _device(hardware: str) -> torch.device:
    if hardware not in ("auto", "cpu", "gpu"):
        raise SettingError("hardware", hardware, "unknown", "choose one of auto, cpu, gpu.")
    present = torch.cuda.is_available()
    if hardware == "gpu" and not present:
        raise SettingError(
            "hardware",
            "gpu",
            "PyTorch sees no GPU here (hardware=auto means it where the machine has one)",
            "install the CUDA build, or choose hardware=cpu.",
        )
    return torch.device("cuda" if present and hardware != "cpu" else "cpu")


@dataclass(frozen=True)
class Adapter:
    """See bench.framework.Adapter."""

    torch_device: torch.device
    precision: str
    compile: str
    name: str = "torch"

    def versions(self) -> dict[str, str]:
        cuda = {"cuda": str(torch.version.cuda)} if self.torch_device.type == "cuda" else {}
        return {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(), **cuda}

    def device(self) -> dict[str, Any]:
        if self.torch_device.type == "cpu":
            return {"kind": "cpu", "name": platform.processor() or platform.machine(), "memory_bytes": None}
        properties = torch.cuda.get_device_properties(self.torch_device)
        return {"kind": "gpu", "name": properties.name, "memory_bytes": properties.total_memory}

    def build(self, model: ModelSpec, optimiser: OptimiserSpec, seed: int) -> Trainer:
        dtype = torch.float64 if self.precision == "fp64" else torch.float32
        compute = torch.bfloat16 if self.precision == "bf16" else None
        network = SequenceModel(model.options, model.values, dtype, compute)
        return Trainer(network.to(self.torch_device), model, optimiser, seed, dtype, self.compile == "default")

    def is_out_of_memory(self, error: BaseException) -> bool:
        # The CPU allocator raises a plain RuntimeError, which only its text tells apart.
        return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
            isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
        )


def dropout_seed(seed: int) -> int:
    """The seed as 32 bits: PyTorch's generator for the CPU takes the lower 32, so that 2**32 would be 0."""
    return seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])


class Trainer:
    """See bench.framework.Trainer."""

    def __init__(
        self,
        model: torch.nn.Module,
        spec: ModelSpec,
        optimiser: OptimiserSpec,
        seed: int,
        dtype: torch.dtype,
        compiled: bool,
    ) -> None:
        self.model, self.dtype, self.compiled = model, dtype, compiled
        self.device = next(model.parameters()).device
        self.run = torch.compile(model, dynamic=False) if compiled else model
        self.step = torch.compile(model.step, dynamic=False) if compiled else model.step
        self.compiled_before = _compiled_graphs() if compiled else 0
        torch.manual_seed(dropout_seed(seed))
        self.recurrence: Any = None
        self.parameters = dict(model.named_parameters())
        self.statistics = {name: buffer for name, buffer in model.named_buffers() if name in spec.values}
        self.names = list(spec.values)
        self.clip_norm, self.parts = optimiser.clip_norm, optimiser.accumulate
        groups: dict[tuple[float, float], list[torch.Tensor]] = {}
        for name, value in self.parameters.items():
            groups.setdefault(optimiser.of(name, name in spec.ssm_names), []).append(value)
        self.rates = [rate for rate, _ in groups]
        self.optimiser = torch.optim.AdamW(
            [{"params": values, "weight_decay": decay} for (_, decay), values in groups.items()],
            lr=optimiser.rate,
            betas=(optimiser.beta1, optimiser.beta2),
            eps=optimiser.eps,
            # One kernel a group: 60 parameters take 0.5 ms on 2 cores, against 8.5 ms with foreach.
            fused=True,
        )

    def put(self, inputs: np.ndarray, targets: np.ndarray) -> Pair:
        return self._input(inputs), self._move(np.asarray(targets, np.int64))

    def put_step(self, inputs: np.ndarray) -> torch.Tensor:
        return self._input(inputs)

    def hold(self, inputs: np.ndarray, targets: np.ndarray) -> Pair:
        return self.put(inputs, targets)

    def take(self, held: Pair, indices: np.ndarray) -> Pair:
        rows = self._move(indices)
        return held[0].index_select(0, rows), held[1].index_select(0, rows)

    def _input(self, inputs: np.ndarray) -> torch.Tensor:
        tensor = self._move(inputs)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor.long()

    def _move(self, array: np.ndarray) -> torch.Tensor:
        # A copy: the caller's array may be read-only (a memory map), and from_numpy would share it.
        tensor = torch.from_numpy(np.array(array))
        # From pinned memory the copy to a GPU does not stop the host.
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def compile(self, batch: Pair) -> bool:
        return False  # torch.compile compiles in the first call, and the eager form not at all

    def train_step(self, batch: Pair, scale: float) -> torch.Tensor:
        self.model.train()
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * scale
        options = (self.run, self.optimiser, self.parameters, self.clip_norm)
        return functional.train(*options, batch, self.dtype, self.parts)

    @torch.no_grad()
    def evaluate(self, batch: Pair, count: int) -> torch.Tensor:
        self.model.eval()
        return functional.evaluate(self.run, batch, count, self.dtype)

    @torch.no_grad()
    def forward(self, batch: Pair) -> torch.Tensor:
        self.model.eval()
        return self.run(batch[0])

    @torch.no_grad()
    def start_recurrence(self, batch_size: int) -> None:
        self.model.eval()
        self.constants = self.model.discretised()
        self.recurrence = self.model.initial_state(batch_size)

    @torch.no_grad()
    def recurrent_step(self, inputs: torch.Tensor) -> torch.Tensor:
        logits, self.recurrence = self.step(inputs, self.recurrence, self.constants)
        return logits

    def wait(self, handle: torch.Tensor) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def read(self, metrics: torch.Tensor) -> tuple[float, float]:
        loss, correct = metrics.tolist()
        return loss, correct

    def read_logits(self, handle: torch.Tensor) -> np.ndarray:
        return handle.detach().cpu().double().numpy()  # NumPy has no bfloat16

    def read_all(self, metrics: Sequence[torch.Tensor]) -> list[tuple[float, float]]:
        return [(loss, correct) for loss, correct in torch.stack(list(metrics)).tolist()] if metrics else []

    def state(self) -> dict[str, np.ndarray]:
        tensors = {**self.parameters, **self.statistics}
        return {name: tensors[name].detach().cpu().numpy().copy() for name in self.names}

    @torch.no_grad()
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        tensors = {**self.parameters, **self.statistics}
        if tensors.keys() != state.keys():
            raise ValueError(f"state: names {sorted(tensors.keys() ^ state.keys())} are on one side only")
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(np.array(state[name])))

    def snapshot(self) -> dict[str, np.ndarray]:
        moments = [self.optimiser.state.get(value, {}) for value in self.parameters.values()]
        found = {f"parameter.{name}": value for name, value in self.parameters.items()}
        found |= {f"statistic.{name}": value for name, value in self.statistics.items()}
        for (name, value), own in zip(self.parameters.items(), moments, strict=True):
            for ours, theirs in MOMENTS.items():
                found[f"{ours}.{name}"] = own.get(theirs, torch.zeros_like(value))
        arrays = {name: value.detach().cpu().numpy().copy() for name, value in found.items()}
        arrays["count"] = np.asarray(int(moments[0]["step"]) if moments[0] else 0, np.int64)
        cuda = self.device.type == "cuda"
        arrays["random.torch"] = (torch.cuda.get_rng_state(self.device) if cuda else torch.get_rng_state()).numpy()
        return arrays

    @torch.no_grad()
    def resume(self, snapshot: Mapping[str, np.ndarray]) -> None:
        check_snapshot(self.snapshot(), snapshot)
        for kind, tensors in (("parameter", self.parameters), ("statistic", self.statistics)):
            for name, tensor in tensors.items():
                tensor.copy_(torch.from_numpy(np.array(snapshot[f"{kind}.{name}"])))
        self.optimiser.state.clear()
        if count := int(snapshot["count"]):
            for name, value in self.parameters.items():
                own = {"step": torch.tensor(float(count), device=self.device)}
                for ours, theirs in MOMENTS.items():
                    own[theirs] = torch.from_numpy(np.array(snapshot[f"{ours}.{name}"])).to(value)
                self.optimiser.state[value] = own
        if "random.torch" in snapshot:
            state = torch.from_numpy(np.array(snapshot["random.torch"]))
            cuda = self.device.type == "cuda"
            torch.cuda.set_rng_state(state, self.device) if cuda else torch.set_rng_state(state)

    def keep(self) -> None:
        self.kept = {name: tensor.detach().clone() for name, tensor in self._changing().items()}
        self.kept_recurrence = _copied(self.recurrence)
        cuda = self.device.type == "cuda"
        self.kept_random = torch.cuda.get_rng_state(self.device) if cuda else torch.get_rng_state()

    @torch.no_grad()
    def put_back(self) -> None:
        for name, tensor in self._changing().items():
            if name in self.kept:
                tensor.copy_(self.kept[name])
            else:
                tensor.zero_()  # a moment that the first step has made since: it was zero
        self.recurrence = _copied(self.kept_recurrence)
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self.kept_random, self.device)
            torch.cuda.synchronize(self.device)
        else:
            torch.set_rng_state(self.kept_random)

    def _changing(self) -> dict[str, torch.Tensor]:
        """Every tensor that a step changes in place, by name."""
        tensors = {**self.parameters, **self.statistics}
        for name, parameter in self.parameters.items():
            for moment, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"{name}/{moment}"] = value
        return tensors

    def trace(self, batch: Pair) -> dict[str, np.ndarray]:
        before = self.state()
        self.model.train()
        with torch.no_grad():
            outputs = self.model.block_outputs(batch[0])
        self.restore(before)  # a training-mode pass moves batch norm's statistics
        self.model.zero_grad(set_to_none=True)
        logits = self.run(batch[0])
        loss = functional.rows(logits, batch[1], self.dtype)[0].mean()
        loss.backward()
        tensors = dict(zip(_output_names(len(outputs)), outputs, strict=True)) | {
            "logits": logits,
            "loss": loss,
        }
        for name, parameter in self.parameters.items():
            # A parameter that the loss does not reach has no gradient here, and zeros in JAX.
            tensors[f"gradient.{name}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        self.restore(before)
        return {name: tensor.detach().cpu().double().numpy().copy() for name, tensor in tensors.items()}

    def compilations(self) -> int:
        return _compiled_graphs() - self.compiled_before if self.compiled else 0

    def peak_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

    def compiled_bytes(self) -> int | None:
        return None


def _copied(state: Any) -> Any:
    """A recurrence's state with tensors of its own."""
    return torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, state)


def _output_names(count: int) -> list[str]:
    return ["output.encoder", *(f"output.blocks.{index}" for index in range(count - 1))]


def _compiled_graphs() -> int:
    return counters["stats"]["unique_graphs"]
