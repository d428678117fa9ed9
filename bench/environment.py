"""The environment of a worker: the same thread counts for every framework, one device, one precision.

Set before the worker's interpreter starts, as libraries read these variables while they load. Every
variable is set for every framework: those of the other one change nothing. The allocator's settings stay as
the user has them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_POOLS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "BLIS")


def environment(threads: int, hardware: str, device: str, precision: str, base: Mapping[str, str]) -> dict[str, str]:
    """The worker's variables. hardware: as asked (auto, cpu, gpu); device: what there is (cpu, gpu)."""
    result = dict(base)
    result |= {f"{pool}_NUM_THREADS": str(threads) for pool in _POOLS}
    result["VECLIB_MAXIMUM_THREADS"] = str(threads)
    result["NPROC"] = str(threads)  # XLA: the size of the CPU client's thread pool
    result["OMP_DYNAMIC"] = "FALSE"
    result["TF_CPP_MIN_LOG_LEVEL"] = base.get("TF_CPP_MIN_LOG_LEVEL", "2")
    result["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    result["JAX_ENABLE_X64"] = "1" if precision == "fp64" else "0"
    if hardware == "gpu":
        result["JAX_PLATFORMS"] = "cuda"
    elif device == "cpu":
        result["JAX_PLATFORMS"] = "cpu"
        result["CUDA_VISIBLE_DEVICES"] = ""
    return result


def bind(threads: int) -> None:
    """Lets this process run on its first `threads` usable cores only, so that no thread pool can exceed them.

    Called before the framework is imported: its pools take their size from here. Linux only; elsewhere the
    variables alone bound the pools.
    """
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
