"""A worker as a process: handing over its job, waiting, passing on Ctrl-C, and what its end says.

The worker's standard input is its job, one line of JSON, and then its lifeline: it closes when this process
ends, however it ends, and the worker stops. Not here: what the job is (bench/launch.py) and what the worker
does (bench/worker.py).
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GRACE_SECONDS = 60.0  # for an interrupted worker to write its record


@dataclass(frozen=True)
class Ending:
    """How a worker ended. memory_kills: processes that the kernel killed for memory while it ran."""

    returncode: int
    interrupted: bool
    memory_kills: int

    def verdict(self) -> tuple[str, str]:
        """Status and message of a worker that left no record."""
        if self.interrupted:
            return "interrupted", "interrupted before the worker could write its record"
        if self.returncode >= 0:
            said = f"the worker ended with exit status {self.returncode} and wrote no record; see its output"
            return "failed", said
        name = signal.Signals(-self.returncode).name
        if name != "SIGKILL":
            return (
                "failed",
                f"the worker was ended by {name}: a fault in native code or an outside signal",
            )
        if self.memory_kills > 0:
            return "out_of_memory", "the kernel killed the worker, and its out-of-memory count rose meanwhile"
        return "failed", "the worker was killed (SIGKILL); the kernel's out-of-memory count did not rise"


def run_worker(command: Sequence[str], job: str, variables: Mapping[str, str]) -> Ending:
    """Starts the worker, hands over its job and waits. Ctrl-C is passed on and waited for, not raised."""
    kills = _memory_kills()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(variables))
    interrupted = _wait(process, job)
    return Ending(process.returncode, interrupted, _memory_kills() - kills)


def _wait(process: subprocess.Popen[bytes], job: str) -> bool:
    """Hands over the job and waits for the end; True if this process was interrupted meanwhile."""
    assert process.stdin is not None
    try:
        try:
            process.stdin.write(job.encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:  # it died before it read; its exit status says why
            process.wait()
            return False
        process.wait()
        return False
    except KeyboardInterrupt:
        # A terminal's Ctrl-C has reached the worker too, which heeds the first signal only; a `kill` has not.
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        return True
    finally:
        with contextlib.suppress(BrokenPipeError):  # flushing to a dead worker raises once more
            process.stdin.close()


def _memory_kills() -> int:
    """How many processes the kernel has killed for memory so far; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
