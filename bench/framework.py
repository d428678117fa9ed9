"""The frameworks, and what the bench asks of one: the protocol that models_*/adapter.py implement, and the values
that cross it.

The bench imports no framework. run.py hands it an Adapter; everything the bench measures goes through a
Trainer. Device values (batches, metrics, logits) stay opaque here: the bench only passes them back, waits
for them or reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

import numpy as np

Batch = Any  # inputs (B, L, C) or (B, L) and targets (B,), on the device
Held = Any  # a whole split on the device
Handle = Any  # something on the device that can be waited for
Metrics = Any  # handle of (loss, correct): two scalars on the device


@dataclass(frozen=True)
class Framework:
    """What a framework is, which no user sets.

    packages: what has to be installed, and what a certificate holds for. modes: what framework.compile may be, and how
    tables call it.
    """

    packages: tuple[str, ...]
    modes: Mapping[str, str]


# Every framework, in the order of the tables' columns; a certificate compares the run's with the first other one.
FRAMEWORKS: Mapping[str, Framework] = {
    "torch": Framework(packages=("torch",), modes={"default": "torch.compile", "none": "eager"}),
    "jax": Framework(packages=("jax", "jaxlib", "flax", "optax"), modes={"default": "jax.jit"}),
}


class Diverged(RuntimeError):
    """The loss became NaN or infinite; the message says at which step, and which parameter (bench.workers.finite)."""


class Recompiled(RuntimeError):
    """A program was compiled inside the timed part; the message names the phase."""


@dataclass(frozen=True)
class ModelSpec:
    """A model, and the float64 values it starts from: the same ones in each framework."""

    name: str
    options: Any  # ssm.network.NetworkOptions; opaque to the bench
    values: Mapping[str, np.ndarray]
    ssm_names: frozenset[str]  # parameters trained at ssm_rate, without decay


@dataclass(frozen=True)
class Group:
    """Parameters with a rate and a decay of their own. names: patterns of dotted names, such as blocks.*.layer.B_*, in
    which * stands for anything. rate: 0 freezes them, decay and all.
    """

    names: Sequence[str]
    rate: float
    weight_decay: float = 0.0

    def holds(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.names)


@dataclass(frozen=True)
class OptimiserSpec:
    """AdamW with decoupled decay: p <- p - scale * rate * (m / (sqrt(v) + eps) + weight_decay * p), both
    moments corrected.

    SSM parameters have their own rate and no decay; before that, the first of `groups` that holds a parameter decides
    its own. clip_norm bounds the norm of all gradients together:
    g <- g * min(1, clip_norm / (norm + 1e-6)), which is PyTorch's formula. accumulate: equal parts of a batch, computed
    one after the other, whose gradients are averaged before the step: the step of the whole batch in less memory. Batch
    norm sees the parts: its figures are of each part, and its running statistics move as often.
    """

    rate: float = 1e-2
    ssm_rate: float = 1e-3
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = None
    groups: Sequence[Group] = field(default_factory=list)
    accumulate: int = 1

    def of(self, name: str, ssm: bool) -> tuple[float, float]:
        """Rate and decay of a parameter. ssm: whether it is one of the model's SSM parameters."""
        for group in self.groups:
            if group.holds(name):
                return group.rate, group.weight_decay
        return (self.ssm_rate, 0.0) if ssm else (self.rate, self.weight_decay)

    def __post_init__(self) -> None:
        for name in ("rate", "ssm_rate", "weight_decay"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"task.optimiser.{name}={value}: must be a number >= 0")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"task.optimiser.{name}={value}: must lie in [0, 1)")
        if not (np.isfinite(self.eps) and self.eps > 0):
            raise ValueError(f"task.optimiser.eps={self.eps}: must be a number > 0")
        if self.clip_norm is not None and not (np.isfinite(self.clip_norm) and self.clip_norm > 0):
            raise ValueError(f"task.clip_norm={self.clip_norm}: must be a number > 0, or null for no clipping")


def check_snapshot(own: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]) -> None:
    """ValueError where a snapshot is not of a network like this one. own: a snapshot of it. What is random may lack."""
    kept, found = ({name for name in one if not name.startswith("random.")} for one in (own, given))
    differing = [f"{name} is on one side only" for name in sorted(kept ^ found)]
    differing += [
        f"{name} has shape {given[name].shape} there and {own[name].shape} here"
        for name in sorted(kept & found)
        if given[name].shape != own[name].shape
    ]
    if differing:
        more = f", and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise ValueError(f"checkpoint: does not fit this network: {'; '.join(differing[:5])}{more}")


class Trainer(Protocol):
    """A model, its optimiser and their state on one device. Steps are queued, not waited for."""

    def put(self, inputs: np.ndarray, targets: np.ndarray) -> Batch:
        """Host to device, asynchronously where the framework can. inputs (B, L, C) float or (B, L) int;
        targets (B,).
        """
        ...

    def hold(self, inputs: np.ndarray, targets: np.ndarray) -> Held:
        """A whole split to the device, from which take() picks batches."""
        ...

    def take(self, held: Held, indices: np.ndarray) -> Batch:
        """The rows `indices` (B,) int64 of a held split."""
        ...

    def compile(self, batch: Batch) -> bool:
        """Compiles the train step for this shape where that can be done without taking it; whether it did."""
        ...

    def train_step(self, batch: Batch, scale: float) -> Metrics:
        """Forward, backward and update; `scale` multiplies both rates. Mean loss and number of right
        answers.
        """
        ...

    def evaluate(self, batch: Batch, count: int) -> Metrics:
        """Evaluation mode: loss and right answers summed over the first `count` rows; the rest is padding."""
        ...

    def forward(self, batch: Batch) -> Handle:
        """Logits in evaluation mode, without gradients."""
        ...

    def start_recurrence(self, batch_size: int) -> None:
        """Discretises once and sets the states to zero. ValueError where the model has no one-step form."""
        ...

    def put_step(self, inputs: np.ndarray) -> Batch:
        """The inputs of one time step, (B, C) float or (B,) int, to the device."""
        ...

    def recurrent_step(self, inputs: Batch) -> Handle:
        """One time step from the kept state: logits; the state moves on."""
        ...

    def wait(self, handle: Handle) -> None:
        """Returns when the handle, and all that was queued before it, is computed."""
        ...

    def read(self, metrics: Metrics) -> tuple[float, float]:
        """Waits for one step's metrics: (loss, correct)."""
        ...

    def read_logits(self, handle: Handle) -> np.ndarray:
        """Waits for what forward or recurrent_step gave: logits (B, K) on the host."""
        ...

    def read_all(self, metrics: Sequence[Metrics]) -> list[tuple[float, float]]:
        """Many steps' metrics in one transfer."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Copies of parameters and batch-norm statistics, by flat dotted name, in the order of ModelSpec.values."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Puts back what state() gave. The optimiser's moments stay as they are."""
        ...

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies of all that a training goes on from, in one format for every framework: parameter.<name>,
        statistic.<name>, first.<name> and second.<name> (AdamW's moments), count (of steps, int64 ()), and what only
        this framework reads: random.<framework>.
        """
        ...

    def resume(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Goes on from a snapshot, of this framework or another. ValueError that says which names or shapes differ."""
        ...

    def keep(self) -> None:
        """Remembers, on the device, all that steps change: parameters, statistics, the optimiser's moments, the
        dropout's generator and, once it has started, the recurrence's state.
        """
        ...

    def put_back(self) -> None:
        """Puts back what keep() remembered, as often as asked; waits until it is there."""
        ...

    def trace(self, batch: Batch) -> dict[str, np.ndarray]:
        """Training mode: "output.encoder", "output.blocks.<i>", "logits", "loss", "gradient.<name>".
        Changes no state.
        """
        ...

    def compilations(self) -> int:
        """Programs compiled so far by this trainer; 0 where nothing is compiled."""
        ...

    def peak_bytes(self) -> int | None:
        """The device allocator's own peak; None on a CPU, where the bench reads the resident peak."""
        ...

    def compiled_bytes(self) -> int | None:
        """What the compiler says that the last train step's program needs; None where it says nothing."""
        ...


class Adapter(Protocol):
    """One framework, set to a device, a precision and a number of threads: models_x.adapter.adapter(...)
    makes it.
    """

    name: str

    def versions(self) -> dict[str, str]:
        """Package to version, of everything that the measured code runs on; on a GPU "cuda" too."""
        ...

    def device(self) -> dict[str, Any]:
        """{"kind": "cpu" | "gpu", "name": str, "memory_bytes": int | None}."""
        ...

    def build(self, model: ModelSpec, optimiser: OptimiserSpec, seed: int) -> Trainer:
        """Model and optimiser on the device; `seed` drives dropout only, as the values are given."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether this framework's exception means that memory ran out, on the host or the device."""
        ...
