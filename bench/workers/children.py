"""Child processes that are talked to in lines: started, sent to, heard, stopped; and what their deaths mean.

A child reads lines from its standard input, which is also its lifeline: it closes when this process ends, however it
ends. Its lines come back over its standard output. Neither side's sending blocks here: a thread writes, another reads.
Not here: what the lines say (bench/workers/protocol.py).
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

WATCH_SECONDS = 5.0  # between two looks whether a silent child still lives


@dataclass(frozen=True)
class Ending:
    """How a child ended. memory_kills: processes that the kernel killed for memory while it ran."""

    returncode: int
    interrupted: bool
    memory_kills: int

    def verdict(self) -> tuple[str, str]:
        """A record's status, and its message, for a worker that ended before its work did."""
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


class Child:
    """One process. OSError where it cannot be started.

    command: the interpreter and its arguments. own_session: a terminal's Ctrl-C does not reach it, and kill() ends its
    own children too. stderr: None is this process's. cores: those that it may run on (Linux; none: all). files:
    descriptors that it keeps open, such as a lease's.
    """

    def __init__(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        *,
        cwd: Path | None = None,
        stderr: IO[Any] | int | None = None,
        own_session: bool = False,
        cores: Sequence[int] = (),
        files: Sequence[int] = (),
    ) -> None:
        self.own_session = own_session
        self.interrupted = False
        self._kills = memory_kills()
        self._incoming: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=dict(variables),
            cwd=cwd,
            start_new_session=own_session,
            pass_fds=files,
        )
        if cores and sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError):  # it has ended already, which receive() will say
                os.sched_setaffinity(self.process.pid, cores)
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def send(self, line: str) -> None:
        """Hands over a line; returns at once. To a child that is gone it is lost: receive() says so."""
        self._outgoing.put(line.encode() + b"\n")

    def receive(self, seconds: float | None = None) -> bytes | None:
        """The next line, without its end; None where the child has closed its output, most likely by ending.

        TimeoutError where none came within `seconds`.
        """
        line = self._next(seconds)
        if line is None:
            self._incoming.put(None)  # for who asks again
        return line

    def _next(self, seconds: float | None) -> bytes | None:
        while True:
            try:
                return self._incoming.get(timeout=WATCH_SECONDS if seconds is None else seconds)
            except queue.Empty:
                if seconds is not None:
                    raise TimeoutError from None
                if self.process.poll() is not None:  # what it has started holds its output open
                    return None

    def interrupt(self) -> None:
        """Asks the child to end soon. A terminal's Ctrl-C has reached it too, and it heeds the first signal only; a
        `kill` of this process has not.
        """
        self.interrupted = True
        self.process.send_signal(signal.SIGTERM)

    def hang_up(self) -> None:
        """Closes the child's input once all that was sent is written: it has no reason to stay."""
        self._outgoing.put(None)

    def wait(self, seconds: float | None = None) -> Ending:
        """Waits for the child's end. TimeoutError where it does not come."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        return Ending(self.process.returncode, self.interrupted, memory_kills() - self._kills)

    def kill(self) -> Ending:
        """Ends the child now, and in a session of its own its children with it. What has ended stays as it was."""
        self.hang_up()
        if self.own_session and sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is gone when all went well
                os.killpg(self.process.pid, signal.SIGKILL)
        elif self.process.poll() is None:
            self.process.kill()
        return self.wait()

    def end(self, seconds: float) -> Ending:
        """Hangs up and waits; kills a child that stays longer than `seconds`, or when Ctrl-C comes meanwhile."""
        self.hang_up()
        try:
            return self.wait(seconds)
        except TimeoutError:
            return self.kill()
        except KeyboardInterrupt:
            self.interrupted = True
            self.kill()
            raise

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):  # else it was cut by the child's death
                    self._incoming.put(line[:-1])
        self._incoming.put(None)

    def _write(self) -> None:
        assert self.process.stdin is not None
        # A child that is gone says why by its end; closing flushes, which raises once more.
        with contextlib.suppress(BrokenPipeError), self.process.stdin as pipe:
            while (line := self._outgoing.get()) is not None:
                pipe.write(line)
                pipe.flush()


def end_all(children: Sequence[Child], seconds: float) -> None:
    """Hangs up on all and waits, `seconds` together; kills those that stay, also on Ctrl-C, which is raised."""
    deadline = time.monotonic() + seconds
    for child in children:
        child.hang_up()
    try:
        for child in children:
            child.end(max(0.0, deadline - time.monotonic()))
    except KeyboardInterrupt:
        for child in children:
            child.interrupted = True
            child.kill()
        raise


def memory_kills() -> int:
    """How many processes the kernel has killed for memory so far; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
