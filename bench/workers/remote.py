"""A worker as its parent sees it: ask it, or send now and receive later; and the crew of a run, which ends together.

Each worker's answers, notices and partial answers are kept as observations, so that the record can be made of them
however the run ends. Not here: processes (bench/workers/children.py), messages (bench/workers/protocol.py).
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.workers.children import Child, Ending, end_all
from bench.workers.lines import decode, encode
from bench.workers.observations import Observations
from bench.workers.protocol import PROTOCOL, Error, Greeting, Leave, Notice, Refused, Request

GRACE_SECONDS = 60.0  # for an interrupted worker to say what it has measured
LEAVE_SECONDS = 60.0  # for one that has nothing left to do


class RunEnded(Exception):
    """The run ends here. status: a record's; the exception's text is the message. trace: the worker's traceback."""

    def __init__(self, status: str, message: str, trace: str | None = None) -> None:
        super().__init__(message)
        self.status, self.trace = status, trace


class Remote:
    """One worker. name: what to call it where there are several; on_notice: is given each notice's body."""

    def __init__(self, child: Child, name: str = "", on_notice: Callable[[Any], None] | None = None) -> None:
        self.child, self.name, self.on_notice = child, name, on_notice
        self.seen = Observations()
        self._pending: deque[Request] = deque()
        self._count = self._begun = 0
        self._greeted = False

    def ask(self, body: Any) -> Any:
        """Sends a request and waits for its answer's body."""
        self.send(body)
        return self.receive()

    def send(self, body: Any) -> None:
        """Sends a request; its answer comes in turn. RuntimeError where the worker speaks another protocol."""
        if not self._greeted:
            self._meet()
        self._count += 1
        request = Request(self._count, body)
        self._pending.append(request)
        self.child.send(encode(request))

    def receive(self) -> Any:
        """The body of the answer to the oldest request without one.

        Raises Refused where the worker refused it, and RunEnded where it failed or where the worker is gone.
        """
        error = self._next(None)
        if isinstance(error, Error):
            raise (
                Refused(error.message)
                if error.kind == "refused"
                else RunEnded(error.kind, error.message, error.traceback)
            )
        return error.body

    def interrupt(self) -> None:
        """Ends what is being served; the answer will carry what it has measured."""
        self.child.interrupt()

    def wind_up(self, seconds: float) -> Error | None:
        """Waits for the answers that are due, `seconds` at most; the first error among them."""
        deadline, first = time.monotonic() + seconds, None
        with contextlib.suppress(TimeoutError, RunEnded):
            while self._pending:
                answer = self._next(max(0.0, deadline - time.monotonic()))
                if first is None and isinstance(answer, Error):
                    first = answer
        return first

    @property
    def is_busy(self) -> bool:
        """Whether an answer is due."""
        return bool(self._pending)

    def leave(self) -> None:
        """The worker may go; what it has not begun, or not ended, is of no use any more."""
        self.child.send(encode(Request(self._count + 1, Leave())))
        self.child.hang_up()

    def _meet(self) -> None:
        greeting = self._message(None)
        if not isinstance(greeting, Greeting) or greeting.protocol != PROTOCOL:
            other = f"{greeting.protocol}, of {greeting.tree}" if isinstance(greeting, Greeting) else repr(greeting)
            raise RunEnded(
                "failed", f"the worker speaks protocol {other}; this tree speaks {PROTOCOL}: take one of that protocol"
            )
        self._greeted = True

    def _next(self, seconds: float | None) -> Any:
        """The next answer, as it came; notices before it are handed on."""
        request = self._pending[0]
        if self._begun < request.number:
            self._begun = request.number
            self.seen.begin(request.body)
        while True:
            message = self._message(seconds)
            assert message.number == request.number, (message, request)
            if isinstance(message, Notice):
                self.seen.add(request.body, message.body)
                if self.on_notice is not None:
                    self.on_notice(message.body)
                continue
            self.seen.add(request.body, message.partial if isinstance(message, Error) else message.body)
            self._pending.popleft()
            return message

    def _message(self, seconds: float | None) -> Any:
        line = self.child.receive(seconds)
        if line is None:
            raise RunEnded(*self.gone().verdict())
        return decode(line)

    def gone(self) -> Ending:
        """How the worker ended, which has closed its output."""
        try:
            return self.child.wait(LEAVE_SECONDS)
        except TimeoutError:
            return self.child.kill()


class Crew:
    """The workers of one run."""

    def __init__(self) -> None:
        self.workers: list[Remote] = []

    def start(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        name: str = "",
        on_notice: Callable[[Any], None] | None = None,
        *,
        cores: Sequence[int] = (),
        files: Sequence[int] = (),
    ) -> Remote:
        """A new worker, on these cores (none: all) and with these descriptors open. RunEnded where it cannot start."""
        try:
            child = Child(command, variables, cores=cores, files=files)
        except OSError as error:
            raise RunEnded("failed", f"{command[0]}: the worker cannot be started ({error.strerror})") from error
        worker = Remote(child, name, on_notice)
        self.workers.append(worker)
        return worker

    def interrupt(self) -> Error | None:
        """Ends what is being served, and waits until all have said what they have measured; the first of their errors.
        Kills those that do not say it within GRACE_SECONDS, and all on a second Ctrl-C, which is not raised.
        """
        first = None
        try:
            for worker in self.workers:
                worker.interrupt()
            deadline = time.monotonic() + GRACE_SECONDS
            for worker in self.workers:
                error = worker.wind_up(max(0.0, deadline - time.monotonic()))
                first = first or error
        except KeyboardInterrupt:
            self.kill()
        for worker in self.workers:
            if worker.is_busy:
                worker.child.kill()
        return first

    def kill(self) -> None:
        """Ends all workers now."""
        for worker in self.workers:
            worker.child.interrupted = True
            worker.child.kill()

    def leave(self) -> None:
        """Lets all workers go and waits for their ends. On Ctrl-C they are killed, and it is raised."""
        self.dismiss(self.workers)

    def dismiss(self, workers: Sequence[Remote]) -> None:
        """The same of some workers."""
        leaving = list(workers)
        for worker in leaving:
            worker.leave()
        end_all([worker.child for worker in leaving], LEAVE_SECONDS)
        self.workers = [worker for worker in self.workers if worker not in leaving]
