"""A worker without a process: the station that serves requests, around a trainer and data that are given."""

from __future__ import annotations

from typing import Any

from numpy_framework import NumpyAdapter, small_data

from bench.measure.memory import PeakMeter
from bench.workers.building import Parts
from bench.workers.observations import Observations, sections
from bench.workers.protocol import Built
from bench.workers.station import Station


class LocalWorker:
    """Answers as a Remote does; an exception of the network's comes out as it is, with what was measured kept."""

    def __init__(self, trainer: Any, data: Any = None, batch_size: int = 16, length: int | None = None, seed: int = 0):
        data = data or small_data()
        length = length or data.description.problem.length
        self.station = Station(lambda name: NumpyAdapter)
        device = NumpyAdapter().device()
        self.station.parts = Parts(trainer, data, batch_size, length, seed, PeakMeter(trainer, 0), device)
        self.station.ledger = {"import_seconds": 1.0, "build_seconds": 2.0}
        self.seen = Observations()
        ledger, operations = dict(self.station.ledger), {"forward_flops": 1.0}
        self.seen.built = Built(ledger, batch_size=batch_size, length=length, operations=operations)
        self.told: list[Any] = []

    def ask(self, request: Any) -> Any:
        self.seen.begin(request)
        body = None
        try:
            body = self.station.serve(request, self.told.append)
        except BaseException:
            body = self.station.partial()
            raise
        finally:
            self.seen.add(request, body)
        return body

    def sections(self) -> dict[str, Any]:
        return sections(self.seen)
