"""Who may use which cores of this machine now: a timing holds all of them, everything else as many as its threads.

A lease is a lock (flock) on one file a core, which the kernel frees when the last process that holds it has ended,
however it ended. Whoever wants a lease waits at a gate, one after the other in no fixed order, and holds the gate until
it has its cores: a timing is not overtaken for ever by small runs. A worker is handed the lease's files, so that cores
count as taken while it lives, even if its parent has been killed.

It holds for the runs of this project on one machine. What other programs do is not seen here; and where the system
has no flock (Windows), or its cores no numbers, nothing is leased.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import fcntl

POLL_SECONDS = 0.1
SAY_AFTER_SECONDS = 2.0  # of waiting, and then once more each time as long again


@dataclass(frozen=True)
class Lease:
    """cores: their numbers, sorted. files: descriptors that hold the locks, for a child to keep them too."""

    cores: tuple[int, ...]
    files: tuple[int, ...] = ()


def usable_cores() -> tuple[int, ...]:
    """The numbers of the logical cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return tuple(range(os.cpu_count() or 1)) if affinity is None else tuple(sorted(affinity(0)))


def lease_folder() -> Path:
    """Where the locks lie: in memory where the system offers that, the same for every user and every TMPDIR. Made."""
    shared = Path("/dev/shm")
    parent = shared if shared.is_dir() and os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    return _made(parent / "ssm-bench-leases")


@contextlib.contextmanager
def lease(
    count: int | None,
    purpose: str,
    say: Callable[[str], None] = lambda text: None,
    folder: Path | None = None,
) -> Iterator[Lease]:
    """Holds `count` of the usable cores, or all of them with None, once they are free; frees them on leaving.

    purpose: in a few words, shown to those who wait. say: is given a line when this one waits. folder: lease_folder().
    """
    cores = usable_cores()
    wanted = len(cores) if count is None else min(count, len(cores))
    if sys.platform == "win32":
        yield Lease(cores[:wanted])
        return
    folder = lease_folder() if folder is None else _made(folder)
    with contextlib.ExitStack() as held:
        with contextlib.ExitStack() as gate:
            waiting = _Waiting(say, purpose, wanted)
            _take(folder / "gate", gate, purpose, waiting)
            taken: dict[int, int] = {}
            while True:
                for core in cores:
                    if core not in taken and len(taken) < wanted:
                        descriptor = _try(folder / f"core-{core}", held, purpose)
                        if descriptor is not None:
                            taken[core] = descriptor
                if len(taken) == wanted:
                    break
                waiting.turn([folder / f"core-{core}" for core in cores if core not in taken])
        numbers = tuple(sorted(taken))
        yield Lease(numbers, tuple(taken[core] for core in numbers))


@contextlib.contextmanager
def alone(path: Path, purpose: str, say: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Only one process at a time is inside for `path`, a file that is made where it is not there (and stays)."""
    if sys.platform == "win32":
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        _take(path, held, purpose, _Waiting(say, purpose, 0))
        yield


class _Waiting:
    """Sleeps between two tries and says now and then for whom."""

    def __init__(self, say: Callable[[str], None], purpose: str, cores: int) -> None:
        self.say, self.purpose, self.cores = say, purpose, cores
        self.begin = time.monotonic()
        self.next = SAY_AFTER_SECONDS

    def turn(self, files: Sequence[Path]) -> None:
        waited = time.monotonic() - self.begin
        if waited >= self.next:
            self.next = 2 * waited
            owners = "; ".join(sorted({text for text in map(_owner, files) if text})) or "another run"
            what = f"{self.cores} free core(s)" if self.cores else "its turn"
            self.say(f"{self.purpose}: waiting for {what} since {waited:.0f} s (in use: {owners})")
        time.sleep(POLL_SECONDS)


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o1777, parents=True, exist_ok=True)
    with contextlib.suppress(PermissionError):  # another user made it, as widely
        folder.chmod(0o1777)
    return folder


def _take(path: Path, held: contextlib.ExitStack, purpose: str, waiting: _Waiting) -> None:
    while _try(path, held, purpose) is None:
        waiting.turn([path])


def _try(path: Path, held: contextlib.ExitStack, purpose: str) -> int | None:
    """The descriptor that holds the lock of `path` until `held` is left; None where somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    held.callback(os.close, descriptor)
    with contextlib.suppress(PermissionError):  # the mode after another user's umask
        os.fchmod(descriptor, 0o666)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{purpose} (process {os.getpid()})".encode(), 0)
    return descriptor


def _owner(path: Path) -> str:
    """Who wrote the lock last; empty where nobody can be named."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
