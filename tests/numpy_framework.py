"""A third framework: softmax regression on the mean over time, in NumPy. The bench's protocol for real, and
small.

Not a mock: it trains, and its AdamW in float64 is the oracle for the two adapters' optimisers.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.framework import ModelSpec, OptimiserSpec, check_snapshot
from datasets.data import Dataset, Description, Split
from settings.problem import Problem


def small_data(seed: int = 0, length: int = 6, channels: int = 3, classes: int = 3) -> Dataset:
    """Classes that differ in the mean of their channels: softmax regression separates them."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.standard_normal((classes, channels))

    def split(count: int) -> Split:
        targets = rng.integers(0, classes, count).astype(np.int32)
        noise = rng.standard_normal((count, length, channels))
        return Split((centres[targets][:, None] + noise).astype(np.float32), targets)

    counts = {"train": 160, "validation": 50, "test": 37}
    description = Description("small", Problem(length, classes, channels=channels), counts)
    return Dataset(description, *(split(count) for count in counts.values()))


class AdamW:
    """torch.optim.AdamW in float64, by the formula of its documentation; clipping by the norm of all
    gradients before it.
    """

    def __init__(self, optimiser: OptimiserSpec, ssm_names: frozenset[str] = frozenset()) -> None:
        self.optimiser, self.ssm_names, self.count = optimiser, ssm_names, 0
        self.first: dict[str, np.ndarray] = {}
        self.second: dict[str, np.ndarray] = {}

    def step(self, parameters: dict[str, np.ndarray], gradients: dict[str, np.ndarray], scale: float) -> None:
        o = self.optimiser
        self.count += 1
        if o.clip_norm is not None:
            norm = np.sqrt(sum(np.sum(g**2) for g in gradients.values()))
            gradients = {name: g * min(1.0, o.clip_norm / (norm + 1e-6)) for name, g in gradients.items()}
        for name, g in gradients.items():
            own = next((group for group in o.groups if group.holds(name)), None)
            ssm = name in self.ssm_names
            rate = scale * (own.rate if own else o.ssm_rate if ssm else o.rate)
            decay = own.weight_decay if own else 0.0 if ssm else o.weight_decay
            m = self.first[name] = o.beta1 * self.first.get(name, 0.0) + (1 - o.beta1) * g
            v = self.second[name] = o.beta2 * self.second.get(name, 0.0) + (1 - o.beta2) * g**2
            p = parameters[name] * (1 - rate * decay)
            m_hat, v_hat = m / (1 - o.beta1**self.count), v / (1 - o.beta2**self.count)
            parameters[name] = p - rate * m_hat / (np.sqrt(v_hat) + o.eps)


class NumpyTrainer:
    """bench.framework.Trainer; every array is "on the device" and every step is done when it returns."""

    def __init__(
        self, channels: int = 3, classes: int = 3, optimiser: OptimiserSpec | None = None, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.parameters = {
            "weight": 0.1 * rng.standard_normal((classes, channels)),
            "bias": np.zeros(classes),
        }
        self.optimiser = AdamW(optimiser or OptimiserSpec(rate=0.05))
        self.scales: list[float] = []
        self.evaluated: list[int] = []
        self.held = 0
        self.waits = 0
        self.before_step: Callable[[int], None] = lambda step: None

    def put(self, inputs: np.ndarray, targets: np.ndarray) -> Any:
        return np.asarray(inputs, np.float64), np.asarray(targets, np.int64)

    def put_step(self, inputs: np.ndarray) -> Any:
        return np.asarray(inputs, np.float64)

    def hold(self, inputs: np.ndarray, targets: np.ndarray) -> Any:
        self.held += 1
        return self.put(inputs, targets)

    def take(self, held: Any, indices: np.ndarray) -> Any:
        return held[0][indices], held[1][indices]

    def _logits(self, inputs: np.ndarray) -> np.ndarray:
        return inputs.mean(1) @ self.parameters["weight"].T + self.parameters["bias"]

    def _rows(self, batch: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits = self._logits(batch[0])
        shifted = logits - logits.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        rows = np.arange(len(logits))
        return -logs[rows, batch[1]], (logits.argmax(1) == batch[1]).astype(float), np.exp(logs)

    def gradients(self, batch: Any) -> dict[str, np.ndarray]:
        probabilities = self._rows(batch)[2]
        probabilities[np.arange(len(probabilities)), batch[1]] -= 1
        delta = probabilities / len(probabilities)
        return {"weight": delta.T @ batch[0].mean(1), "bias": delta.sum(0)}

    def compile(self, batch: Any) -> bool:
        return False

    def train_step(self, batch: Any, scale: float) -> Any:
        self.before_step(len(self.scales))
        losses, correct, _ = self._rows(batch)
        self.optimiser.step(self.parameters, self.gradients(batch), scale)
        self.scales.append(scale)
        return losses.mean(), correct.sum()

    def evaluate(self, batch: Any, count: int) -> Any:
        losses, correct, _ = self._rows(batch)
        self.evaluated.append(len(batch[0]))
        return losses[:count].sum(), correct[:count].sum()

    def forward(self, batch: Any) -> Any:
        return self._logits(batch[0])

    def start_recurrence(self, batch_size: int) -> None:
        raise ValueError("softmax regression has no one-step form")

    def recurrent_step(self, inputs: Any) -> Any:
        raise AssertionError("start_recurrence refused")

    def wait(self, handle: Any) -> None:
        self.waits += 1

    def read(self, metrics: Any) -> tuple[float, float]:
        return float(metrics[0]), float(metrics[1])

    def read_logits(self, handle: Any) -> np.ndarray:
        return np.asarray(handle)

    def read_all(self, metrics: Any) -> list[tuple[float, float]]:
        return [self.read(entry) for entry in metrics]

    def state(self) -> dict[str, np.ndarray]:
        return {name: value.copy() for name, value in self.parameters.items()}

    def restore(self, state: Any) -> None:
        self.parameters = {name: np.array(value) for name, value in state.items()}

    def snapshot(self) -> dict[str, np.ndarray]:
        arrays = {f"parameter.{name}": value.copy() for name, value in self.parameters.items()}
        for kind, moments in (("first", self.optimiser.first), ("second", self.optimiser.second)):
            for name, value in self.parameters.items():
                arrays[f"{kind}.{name}"] = np.array(moments.get(name, np.zeros_like(value)))
        return arrays | {"count": np.asarray(self.optimiser.count, np.int64)}

    def resume(self, snapshot: Any) -> None:
        check_snapshot(self.snapshot(), snapshot)
        self.parameters = {name: np.array(snapshot[f"parameter.{name}"]) for name in self.parameters}
        self.optimiser.first = {name: np.array(snapshot[f"first.{name}"]) for name in self.parameters}
        self.optimiser.second = {name: np.array(snapshot[f"second.{name}"]) for name in self.parameters}
        self.optimiser.count = int(snapshot["count"])

    def keep(self) -> None:
        self.kept = copy.deepcopy((self.parameters, vars(self.optimiser)))

    def put_back(self) -> None:
        self.parameters, optimiser = copy.deepcopy(self.kept)
        vars(self.optimiser).update(optimiser)

    def trace(self, batch: Any) -> dict[str, np.ndarray]:
        losses = self._rows(batch)[0]
        named = {f"gradient.{name}": value for name, value in self.gradients(batch).items()}
        return {
            "output.encoder": batch[0].mean(1),
            "logits": self._logits(batch[0]),
            "loss": losses.mean(),
            **named,
        }

    def compilations(self) -> int:
        return 0

    def peak_bytes(self) -> int | None:
        return None

    def compiled_bytes(self) -> int | None:
        return None


class SlowTrainer(NumpyTrainer):
    """Takes a known time a step."""

    seconds = 0.01

    def train_step(self, batch: Any, scale: float) -> Any:
        time.sleep(self.seconds)
        return super().train_step(batch, scale)


@dataclass(frozen=True)
class NumpyAdapter:
    """bench.framework.Adapter; make_trainer is called as NumpyTrainer is."""

    make_trainer: Callable[..., NumpyTrainer] = NumpyTrainer
    name: str = "numpy"

    def versions(self) -> dict[str, str]:
        return {}

    def device(self) -> dict[str, Any]:
        return {"kind": "cpu", "name": "any", "memory_bytes": None}

    def build(self, model: ModelSpec, optimiser: OptimiserSpec, seed: int) -> NumpyTrainer:
        return self.make_trainer(model.options.d_input, model.options.d_output, optimiser, seed)

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)


class Clock:
    """Stands in for the module time: moves by hand only, so that a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now
