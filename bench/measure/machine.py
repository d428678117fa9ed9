"""What a run ran on: processor, cores, memory, system, versions, the code's state, this process's own memory.

Containers are respected: usable cores and memory are the smaller of the machine's and the control group's. No
framework is imported; a GPU is described by the framework's adapter.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bench.framework import FRAMEWORKS

CERTIFIED = ("ssm", "settings", *(f"models_{name}" for name in FRAMEWORKS))  # what a parity certificate vouches for
SOURCES = (*CERTIFIED, "bench", "datasets", "run.py")  # what a record's figures depend on, beside its config
CGROUP_ROOT = Path("/sys/fs/cgroup")


def describe_machine() -> dict[str, Any]:
    """The `machine` section of a record. `gpu` is null: the adapter that uses one fills it in."""
    return {
        "cpu": _cpu_name(),
        "cores": physical_cores(),
        "logical_cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "gpu": None,
    }


def physical_cores() -> int:
    """Cores of the machine without hyper-threads (the logical ones where the system does not say)."""
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def usable_cores() -> int:
    """Logical cores that this process may use: the smaller of its affinity and its control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = cgroup_cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def default_threads() -> int:
    """Threads for a run that names none: one a physical core, but no more than this process may use."""
    return min(physical_cores(), usable_cores())


def memory_bytes() -> int:
    """Memory that this process may use: the smaller of the machine's and its control group's limit."""
    limits = [psutil.virtual_memory().total, *_cgroup_integers("memory.max", "memory/memory.limit_in_bytes")]
    return min(limits)


def cgroup_cpu_quota(root: Path = CGROUP_ROOT) -> float | None:
    """Cores that the control group grants (versions 2 and 1), None without a limit."""
    quotas = []
    for folder in _cgroup_folders(root):
        fields = _first_line(folder / "cpu.max").split()
        if len(fields) == 2 and fields[0] != "max":
            quotas.append(int(fields[0]) / int(fields[1]))
    quota, period = (_first_line(root / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota.isdigit() and period.isdigit():  # "-1" is no limit
        quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def code_hash(paths: Iterable[str | Path]) -> str:
    """sha256 (hex) over names and contents of the .py files in `paths` (files or folders)."""
    digest = hashlib.sha256()
    for path in sorted({Path(path).resolve() for path in paths}, key=lambda path: path.name):
        if not path.exists():
            raise ValueError(f"code_hash: {path} does not exist; name files and folders of the project")
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(path.parent).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def code_state(root: str | Path) -> dict[str, Any]:
    """{'commit', 'dirty', 'hash'} of the project at `root`; commit and dirty are null where git is silent.

    dirty: a file that the hash or the configuration comes from (conf/ too) differs from the commit or is new.
    """
    root = Path(root)
    present = [name for name in (*SOURCES, "conf") if (root / name).exists()]
    commit = _git(root, "rev-parse", "HEAD")
    status = None if commit is None else _git(root, "status", "--porcelain", "--", *present)
    return {
        "commit": commit,
        "dirty": None if status is None else bool(status),
        "hash": code_hash(root / name for name in present if name != "conf"),
    }


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Installed version of each distribution, None where it is not installed. Imports none of them."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def missing_packages(framework: str) -> list[str]:
    """The packages of a framework that are not installed."""
    versions = package_versions(FRAMEWORKS[framework].packages)
    return [name for name, version in versions.items() if version is None]


def gpu_driver() -> str | None:
    """The NVIDIA driver's version, as nvidia-smi says it; None where it does not."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = _asked(command)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.split() if answer.returncode == 0 else []
    return lines[0] if lines else None


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    return psutil.Process().memory_info().rss


def peak_resident_bytes() -> int:
    """The most RAM this process has held since it started, or since `reset_peak` returned True."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, the others KiB


def reset_peak() -> bool:
    """Let `peak_resident_bytes` start anew from what is resident now; False where the system refuses."""
    before = peak_resident_bytes()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    # Some sandboxes accept the write and ignore it: the peak must have come down to about what is resident.
    return peak_resident_bytes() < before or peak_resident_bytes() <= resident_bytes() * 1.05


def release_freed() -> None:
    """Gives memory that was freed, but that the C library keeps, back to the system; without effect but on glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if sys.platform == "darwin":
        asked = _asked(["sysctl", "-n", "machdep.cpu.brand_string"])
        if asked.returncode == 0 and asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def _cgroup_folders(root: Path) -> list[Path]:
    """This process's control group (version 2) and every one above it: each may set a limit."""
    own = next((line[3:] for line in _lines(Path("/proc/self/cgroup")) if line.startswith("0::")), "/")
    folder = root / own.strip().lstrip("/")
    return [folder, *(above for above in folder.parents if above == root or root in above.parents)]


def _cgroup_integers(version_2: str, version_1: str) -> list[int]:
    files = [folder / version_2 for folder in _cgroup_folders(CGROUP_ROOT)] + [CGROUP_ROOT / version_1]
    return [int(line) for line in map(_first_line, files) if line.isdigit()]  # "max" is no limit


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:  # another system, or a container that hides it: no limit is known
        return []


def _first_line(path: Path) -> str:
    return next(iter(_lines(path)), "").strip()


def _asked(command: list[str]) -> subprocess.CompletedProcess[str]:
    """What a tool of the system answers, as UTF-8 whatever the locale; OSError or TimeoutExpired where it does not."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=20
    )


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]  # no lock: many runs start at once
    try:
        answer = _asked(command)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
