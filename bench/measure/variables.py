"""Which variables of the shell reach a measurement, and what its record says of them: one table, by families.

A variable that switches a compiler off is refused. What a setting decides (threads, device, precision, seed, caches)
is set or cleared, whatever the shell says. Every other variable of a library that computes, of a compiler, an
allocator, the loader or Python itself reaches the worker as it is, stands in the record with its value, and is part
of what makes two records comparable: unknown members of a family too. The rest passes, and a record holds its names
only, as values may be keys. Not seen: libraries' own files of settings, and flags of the interpreter (`python -X`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

# Patterns as of the shell. The first of these tables that knows a name decides.
REFUSED = (
    *("JAX_DISABLE_JIT", "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_NO_EXECUTION"),
    *("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE", "TORCHINDUCTOR_DISABLE", "TORCH_DISABLE_NATIVE_JIT"),
    "TORCHDYNAMO_SUPPRESS_ERRORS",  # what does not compile then runs eagerly, and nobody is told
    "TORCH_COMPILE_OVERRIDE_BACKENDS",
    *("PYTORCH_JIT", "PYTORCH_JIT_DISABLE", "TRITON_INTERPRET"),
)
OURS = (  # bench/workers/environment.py gives their values
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NPROC", "OMP_DYNAMIC"),
    *("JAX_PLATFORMS", "JAX_ENABLE_X64", "XLA_PYTHON_CLIENT_PREALLOCATE"),
    *("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"),
    *("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_FORCE_DISABLE_CACHES"),
)
CLEARED = (
    "PYTHONHASHSEED",  # Python then draws one, as it does for who sets none
    # threads
    *("OMP_THREAD_LIMIT", "OMP_NUM_TEAMS", "KMP_ALL_THREADS", "KMP_DEVICE_THREAD_LIMIT", "MKL_DOMAIN_NUM_THREADS"),
    *("GOTO_NUM_THREADS", "OPENBLAS_DEFAULT_NUM_THREADS", "NUMEXPR_MAX_THREADS", "PJRT_NPROC"),
    # device, precision, seed
    *("JAX_PLATFORM_NAME", "JAX_DEFAULT_DEVICE", "JAX_XLA_BACKEND", "JAX_BACKEND_TARGET"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "JAX_DEFAULT_MATMUL_PRECISION"),
    "JAX_RANDOM_SEED_OFFSET",
    # compile_cache
    *("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_*", "JAX_PERSISTENT_CACHE_*", "TRITON_CACHE_DIR"),
    *("TORCH_COMPILE_FORCE_DISABLE_CACHES", "TORCHINDUCTOR_FX_GRAPH_*CACHE*", "TORCHINDUCTOR_AUTOGRAD_*CACHE*"),
    "TORCHINDUCTOR_*AUTOTUNE_REMOTE_CACHE",
)
PASSED = (  # members of a family that say where things lie or which machine this is; names only
    *("*_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_MPS_*_DIRECTORY", "CUDA_CACHE_PATH"),
    *("CUDA_HOME", "CUDA_ROOT", "CUDA_PATH*", "CUDA_INC_PATH", "CUDA_BIN_PATH", "CUDA_LIB_PATH", "CUDA_*_DIR"),
    *(
        "CUDNN_*PATH",
        "CUDNN_HOME",
        "CUDNN_ROOT*",
        "CUDNN_LIBRARY",
        "CU*_VERSION",
        "PYTORCH_*VERSION",
        "TORCH_*VERSION",
        "HIP_PATH",
        "HIP_PLATFORM",
    ),
    *("TORCH_HOME", "TORCH_EXTENSIONS_DIR", "TORCH_NCCL_*", "TORCH_DISTRIBUTED_*", "TORCH_FR_*", "TORCHELASTIC_*"),
    *("PYTORCH_HOME", "PYTORCH_KERNEL_CACHE_PATH", "JAX_COORDINATOR_*", "JAX_PROCESS_ID", "JAX_NUM_PROCESSES"),
    *("TF_CPP_MIN_LOG_LEVEL", "LD_LIBRARY_PATH", "LD_RUN_PATH", "DYLD_*LIBRARY_PATH", "DYLD_*FRAMEWORK_PATH"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "PYTHONPYCACHEPREFIX"),
    *("PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONSAFEPATH", "PYTHONCASEOK", "PYTHONDONTWRITEBYTECODE"),
    *("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "PYTHONWARNINGS"),
    *("PYTHONFAULTHANDLER", "PYTHONINSPECT", "PYTHONBREAKPOINT", "PYTHON_*VERSION", "PYTHON_SHA256"),
    *("PYTHON_GET_PIP_*", "PYTHON_COLORS", "PYTHON_HISTORY", "PYTHON_BASIC_REPL", "PYTHON_KEYRING_*"),
    *("PYTHON_EXEC", "PYTHON_RUNFILES"),
)
FAMILIES = (  # recorded with their values
    # JAX
    *("JAX*", "XLA_*", "PJRT_*", "TPU_*", "LIBTPU_*", "FLAX_*", "OPTAX_*", "MOSAIC_*", "LLVM_*", "EAGER_CONSTANT_*"),
    *("CHECK_VMA", "MOCK_NUM_GPU_PROCESSES"),
    # what XLA takes from TensorFlow; TF_VAR_*, TF_TOKEN_* and others are Terraform's and may be secret
    *("TF_CPP_*", "TF_XLA_*", "TF_GPU_*", "TF_CUDA_*", "TF_CUDNN_*", "TF_CUBLAS_*", "TF_ENABLE_*", "TF_DISABLE_*"),
    *("TF_FORCE_*", "TF_USE_*", "TF_NUM_*", "TF_DETERMINISTIC_*", "TF_ONEDNN_*", "TF_MKL_*", "TF_PROFILER_*"),
    *("TF_DUMP_*", "TF_ALLOW_*", "TF_INTER_*", "TF_INTRA_*", "TF_AUTOTUNE_*", "TF_CONV_*", "TF_MLIR_*", "TF_JIT_*"),
    # PyTorch
    *("TORCH*", "_TORCH*", "PYTORCH*", "ATEN_*", "C10_*", "CAFFE2_*", "THP_MEM_*", "AOT_*", "AOTI*", "INDUCTOR_*"),
    *("FX_GRAPH_*", "FX_PATCH_*", "PARTITIONER_*", "TENSORIFY_*", "PT2_*", "LTC_MAX_*", "HALIDE_*", "CUTLASS_*"),
    *("CUTEDSL_*", "KINETO_*", "TRITON_*", "FBGEMM_*", "XNN*", "LRU_CACHE_CAPACITY", "FAKE_ALLOW_META", "DUMP_AOTI_*"),
    *("LOG_AUTOTUNE_*", "LOG_TLPARSE", "UNSAFE_SKIP_*", "ENABLE_*TMA_*", "ENABLE_PYTORCH_*", "TEARDOWN_CUPTI"),
    *("CUPTI_*", "DISABLE_CUPTI_*"),
    *("CC", "CXX", "CUDACXX", "OMP_PREFIX"),  # Inductor and Triton build with them
    # GPUs
    *("CUDA_*", "CUDNN_*", "CUBLAS*", "CUFFT*", "CURAND*", "CUSOLVER*", "CUSPARSE*", "NVRTC_*", "NVFUSER_*", "NSYS_*"),
    *("HIP_*", "HSA_*", "ROCR_*", "ROCBLAS_*", "HIPBLASLT_*", "MIOPEN_*", "AMD_SERIALIZE_*", "AMD_LOG_*", "GPU_MAX_*"),
    # mathematics and threads; OPENBLAS_CORETYPE may be what makes a processor's sums right
    *("OMP_*", "KMP_*", "GOMP_*", "LIBOMP_*", "MKL_*", "OPENBLAS_*", "GOTO_*", "BLIS_*", "VECLIB_*", "FLEXIBLAS*"),
    *("NVPL_*", "ARMPL_*", "DNNL_*", "ONEDNN_*", "MKLDNN_*", "TBB_*", "NUMEXPR_*", "NPY_*", "NUMPY_*"),
    *("SCIPY_*", "EIGEN_*"),
    # memory and the loader
    *("GLIBC_TUNABLES", "MALLOC_*", "_RJEM_*", "JEMALLOC_*", "TCMALLOC_*", "MIMALLOC_*", "LD_*", "DYLD_*"),
    # Python, and what traces it
    *("PYTHON*", "COVERAGE_*", "COV_CORE_*", "PYDEVD_*", "?SAN_OPTIONS", "UBSAN_OPTIONS"),
)
SECRET = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|PWD|CREDENTIAL|APIKEY|JWT|(^|_)AUTH(_|$)|_KEY(_ID)?$")
NO_SECRET = re.compile(r"_(PRNG|CACHE|PGO)_KEY$")  # keys of another kind in the frameworks' own names
ADDRESS_WITH_PASSWORD = re.compile(r"://[^/\s]*@")

_OFF = ("", "0", "0v", "n", "no", "f", "false", "off")
_ON_BY_DEFAULT = ("PYTORCH_JIT",)  # an off value is what switches the compiler off
_XLA_OFF = re.compile(r"--xla_(disable_all_hlo_passes(?!=(false|0))|backend_optimization_level=0)\b", re.IGNORECASE)


def kind(name: str) -> str:
    """What becomes of a variable: 'refused' (where its value says so; else cleared), 'ours', 'cleared', 'passed' or
    'recorded'.
    """
    for answer, patterns in (("refused", REFUSED), ("ours", OURS), ("cleared", CLEARED), ("passed", PASSED)):
        if _among(name, patterns):
            return answer
    secret = SECRET.search(name.upper()) and not NO_SECRET.search(name)
    return "recorded" if _among(name, FAMILIES) and not secret else "passed"


def reaches(name: str, value: str) -> bool:
    """Whether the worker gets the variable as the shell has it. A family's empty variable says nothing: cleared."""
    return kind(name) == "passed" or (kind(name) == "recorded" and value != "")


def refuse(variables: Mapping[str, str]) -> None:
    """ValueError for variables that switch a compiler off: what they slow down would be recorded as a measurement."""
    found = [name for name, value in sorted(variables.items()) if _switches_off(name, value)]
    if found:
        given = ", ".join(f"{name}={variables[name]}" for name in found)
        raise ValueError(
            f"{given}: set in the shell, this keeps a compiler from its work, and the record would not be of what it "
            f"says; unset {' '.join(found)} (to run PyTorch eagerly there is framework.compile=none)."
        )


def stated(variables: Mapping[str, str]) -> dict[str, Any]:
    """The `environment` section of a record, of the shell's variables: values (what can change a figure and reaches
    the worker), dropped (names that a setting of ours overrides or clears), names (of all others).
    """
    values = {name: _shown(value) for name, value in variables.items() if kind(name) == "recorded" and value}
    dropped = [name for name, value in variables.items() if not reaches(name, value)]
    others = variables.keys() - values.keys() - set(dropped)
    return {
        "values": {_readable(name): values[name] for name in sorted(values)},
        "dropped": sorted(map(_readable, dropped)),
        "names": sorted(map(_readable, others)),
    }


def compared(record: Mapping[str, Any]) -> dict[str, str]:
    """The variables that two comparable records share; none in records from before they were said."""
    return dict((record.get("environment") or {}).get("values") or {})


def _switches_off(name: str, value: str) -> bool:
    if name == "XLA_FLAGS":
        return _XLA_OFF.search(value) is not None
    if kind(name) != "refused" or value.strip() == "":
        return False
    return (value.strip().lower() in _OFF) == (name in _ON_BY_DEFAULT)


def _among(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _shown(value: str) -> str:
    return "(hidden: an address with a password)" if ADDRESS_WITH_PASSWORD.search(value) else _readable(value)


def _readable(text: str) -> str:
    """Bytes that are no UTF-8 as backslashed numbers, which a JSON file can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
