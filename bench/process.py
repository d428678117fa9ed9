"""Workers as processes: handing over their jobs, waiting, passing on Ctrl-C, and what their ends say.

A worker's standard input is its job, one line of JSON, and then its lifeline: it closes when this process
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
class Start:
    """What a worker is started with: its command, its job (one line of JSON), its environment."""

    command: Sequence[str]
    job: str
    variables: Mapping[str, str]


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
        number = -self.returncode
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        if name != "SIGKILL":
            return (
                "failed",
                f"the worker was ended by {name}: a fault in native code or an outside signal",
            )
        if self.memory_kills > 0:
            return "out_of_memory", "the kernel killed the worker, and its out-of-memory count rose meanwhile"
        return "failed", "the worker was killed (SIGKILL); the kernel's out-of-memory count did not rise"


def run_workers(starts: Sequence[Start]) -> list[Ending]:
    """Starts the workers side by side, hands over their jobs and waits for all. Ctrl-C is passed on and waited
    for, not raised.
    """
    kills = _memory_kills()
    processes: list[subprocess.Popen[bytes]] = []
    interrupted = False
    try:
        for start in starts:
            process = subprocess.Popen(start.command, stdin=subprocess.PIPE, env=dict(start.variables))
            processes.append(process)
            _hand_over(process, start.job)
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        interrupted = True
        _stop(processes)
    finally:
        for process in processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # flushing to a dead worker raises once more
                process.stdin.close()
    return [Ending(process.returncode, interrupted, _memory_kills() - kills) for process in processes]


def _hand_over(process: subprocess.Popen[bytes], job: str) -> None:
    assert process.stdin is not None
    # A worker that died before it read says why by its exit status.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(job.encode() + b"\n")
        process.stdin.flush()


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Lets each worker write its record; kills what is still there after GRACE_SECONDS or a second Ctrl-C."""
    try:
        for process in processes:
            # A terminal's Ctrl-C has reached the worker too, which heeds the first signal only; a `kill` has not.
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        for process in processes:
            process.kill()
            process.wait()


def _memory_kills() -> int:
    """How many processes the kernel has killed for memory so far; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
