"""The environment of a worker: the same thread counts for every framework, one device, one precision.

Set before the worker's interpreter starts, as libraries read these variables while they load. Every
variable is set for every framework: those of the other one change nothing. What becomes of the shell's own variables
stands in bench/measure/variables.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.measure.variables import reaches

# glibc returns large blocks to the kernel at once, so that each step touches its pages anew: up to half of a CPU step.
# Kept blocks in huge pages fault in the first step only, for both frameworks. Other C libraries ignore this.
ALLOCATOR = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736",
}
_POOLS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "BLIS")


def environment(
    threads: int, device: str, precision: str, base: Mapping[str, str], compile_cache: str | None = None
) -> dict[str, str]:
    """The worker's variables. device: what the run uses (cpu, gpu); the frameworks get no choice. compile_cache: the
    folder where compilers find and keep programs; None: every run compiles anew, whatever the frameworks' defaults.
    """
    given = {name: value for name, value in base.items() if reaches(name, value)}
    result = {**ALLOCATOR, **given}  # who sets GLIBC_TUNABLES has a reason, and his record says so
    result |= {f"{pool}_NUM_THREADS": str(threads) for pool in _POOLS}
    result["VECLIB_MAXIMUM_THREADS"] = str(threads)
    result["NPROC"] = str(threads)  # XLA: the size of the CPU client's thread pool
    result["OMP_DYNAMIC"] = "FALSE"
    result["TF_CPP_MIN_LOG_LEVEL"] = base.get("TF_CPP_MIN_LOG_LEVEL", "2")
    result["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    result["JAX_ENABLE_X64"] = "1" if precision == "fp64" else "0"
    if compile_cache is None:
        result["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # torch.compile's are on unless this is set
    else:
        folder = Path(compile_cache).resolve()
        result["JAX_COMPILATION_CACHE_DIR"] = str(folder / "jax")
        result["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        result["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "torch")
    if device == "gpu":
        result["JAX_PLATFORMS"] = "cuda"
    else:
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
