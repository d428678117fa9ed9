"""Peak memory of a run. On a GPU the framework's own allocator says it; on a CPU it is the process's
resident peak.

The resident peak is counted over a baseline read after the imports, the adapter's set-up and the loading of
the data, so that neither the libraries nor the data set's arrays count: the adapters import also what would
come in with the first optimiser (torch._dynamo) or the first computation (XLA's Python). The model, its
optimiser, the batches and all that compilation takes do count. Not measured: what the operating system caches,
and how much of an allocator's pool is in use inside a step.
"""

from __future__ import annotations

from typing import Any

from bench.framework import Trainer
from bench.measure import machine


def baseline() -> int:
    """Resident bytes now. Call it when imports and data are in and before the model is made; the peak
    restarts here.
    """
    machine.reset_peak()
    return machine.resident_bytes()


def compile_ahead(trainer: Trainer, batch: Any) -> None:
    """Compiles the train step and gives what the compiler has freed back to the system: the C library would keep
    it, and a peak would hold it beside what the step needs (XLA: 150 MB and more). Only after a compilation: a
    heap that was cut up costs eager steps a fifth of their speed.
    """
    if trainer.compile(batch):
        machine.release_freed()


class PeakMeter:
    """Peak since the baseline, and the peak since mark_steady(): the second leaves out what compilation took
    and gave back, but not what it kept.
    """

    def __init__(self, trainer: Trainer, baseline_bytes: int) -> None:
        self.trainer = trainer
        self.baseline_bytes = baseline_bytes
        self._earlier_peak = 0
        self._steady = False

    def mark_steady(self) -> None:
        """From here on the resident peak counts as steady; without effect where the system cannot restart
        its peak.
        """
        self._earlier_peak = max(self._earlier_peak, machine.peak_resident_bytes())
        self._steady = bool(machine.reset_peak())

    def section(self) -> dict[str, Any]:
        """The record's memory section; peaks in bytes over the baseline (resident) or as the device
        allocator counts.
        """
        compiled_bytes = self.trainer.compiled_bytes()
        device_peak = self.trainer.peak_bytes()
        if device_peak is not None:
            return {
                "peak_bytes": device_peak,
                "steady_peak_bytes": None,
                "baseline_bytes": 0,
                "source": "device allocator",
                "compiled_bytes": compiled_bytes,
            }
        now = machine.peak_resident_bytes()
        return {
            "peak_bytes": max(0, max(now, self._earlier_peak) - self.baseline_bytes),
            "steady_peak_bytes": max(0, now - self.baseline_bytes) if self._steady else None,
            "baseline_bytes": self.baseline_bytes,
            "source": "resident peak over imports and data",
            "compiled_bytes": compiled_bytes,
        }
