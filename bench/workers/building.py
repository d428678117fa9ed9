"""From a Build request to a network in its place: framework, data, model, optimiser, and what is found on the way.

The framework comes first, then the data, then the baseline of memory, then the model: nothing but the model and what
belongs to it counts as memory. Its initial values are the same in each framework.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bench.framework import Adapter, ModelSpec, Trainer
from bench.measure import machine, memory
from bench.workers.options import model_options, network_arguments, problem_at
from bench.workers.protocol import Build, Built
from datasets import registry
from datasets.batches import at_length, epoch_order
from datasets.data import Dataset
from ssm.network import initial, ssm_parameter_names, statistic_names
from ssm.operations import operations

LoadAdapter = Callable[[str], Callable[..., Adapter]]  # a framework's name -> its adapter(), importing the framework


@dataclass(frozen=True)
class Parts:
    """A network in its place. device: Adapter.device()."""

    trainer: Trainer
    data: Dataset
    batch_size: int
    length: int
    seed: int
    meter: memory.PeakMeter
    device: dict[str, Any]
    network: dict[str, Any] = field(default_factory=dict)  # the arguments of ssm.network.network_options

    def batches(self, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The first `count` training batches, inputs and targets, on the host: epoch after epoch, in their order."""
        train, rows = self.data.train, list[np.ndarray]()
        epoch = 0
        while len(rows) < count:
            rows += list(epoch_order(len(train.targets), self.batch_size, self.seed, epoch))
            epoch += 1
        problem = self.data.description.problem.at(self.length)
        return [at_length(train.inputs[row], train.targets[row], problem) for row in rows[:count]]


class Building:
    """One building, whose so_far() holds what is known also where it fails half-way."""

    def __init__(self, request: Build) -> None:
        self.request = request
        self.ledger: dict[str, float] = {}
        self._found: dict[str, Any] = {}

    def so_far(self) -> Built:
        return Built(ledger=dict(self.ledger), batch_size=self.request.batch_size, **self._found)

    def load_framework(self, load_adapter: LoadAdapter) -> Adapter:
        """Imports the framework and sets it to its device. device in the request was decided by the parent."""
        request = self.request
        begin = time.perf_counter()
        adapter = load_adapter(request.framework)(
            hardware=request.device, precision=request.precision, threads=request.threads, compile=request.compile
        )
        self.ledger["import_seconds"] = time.perf_counter() - begin
        self.device = adapter.device()
        self._found["device"] = self.device["kind"]
        if self.device["kind"] == "gpu":
            gpu = {key: self.device[key] for key in ("name", "memory_bytes")}
            self._found["gpu"] = {**gpu, "driver": machine.gpu_driver()}
        self._found["versions"] = adapter.versions() | {"numpy": np.__version__}
        return adapter

    def build(self, adapter: Adapter) -> Parts:
        request = self.request
        begin = time.perf_counter()
        data = registry.load(request.dataset, request.data_dir, request.seed)
        self.ledger["data_seconds"] = time.perf_counter() - begin
        baseline_bytes = memory.baseline()

        begin = time.perf_counter()
        problem = problem_at(request.length, data.description.problem)
        self._found |= {"length": problem.length, "documents": problem.documents}
        network = network_arguments(request.model, problem)
        options = model_options(request.model, problem)
        self._found["algorithm"] = ", ".join(dict.fromkeys(layer.chosen for layer in options.layers))
        values = initial(options, request.seed)
        statistics = statistic_names(options)
        count = sum(value.size for name, value in values.items() if name not in statistics)
        width = 8 if request.precision == "fp64" else 4
        self._found["parameters"] = {"count": count, "bytes": count * width}
        spec = ModelSpec(request.model["name"], options, values, ssm_parameter_names(options))
        trainer = adapter.build(spec, request.optimiser, request.seed)
        self.ledger["build_seconds"] = time.perf_counter() - begin
        self._found["operations"] = asdict(operations(options, request.batch_size, count))
        meter = memory.PeakMeter(trainer, baseline_bytes)
        return Parts(trainer, data, request.batch_size, problem.length, request.seed, meter, self.device, network)
