"""The worker: a process that serves its parent's requests on one network, and leaves a record where the parent is gone.

Requests come over standard input, which stays open while the parent lives; answers go over what standard output was,
and whatever else is printed goes to standard error, so that it can damage no answer. Ctrl-C, or `kill`, ends the
request that is being served, and the answer carries what it has measured so far. What a worker cannot do: say anything
after SIGKILL; the parent does that (bench/workers/children.py).
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.framework import Diverged
from bench.store.files import RecordError
from bench.store.records import set_status, write_record
from bench.workers.building import LoadAdapter
from bench.workers.environment import bind
from bench.workers.lines import ProtocolError, decode, encode
from bench.workers.observations import Observations, completed
from bench.workers.protocol import (
    PROTOCOL,
    Build,
    Error,
    Finish,
    Greeting,
    Leave,
    Notice,
    Refused,
    Request,
    Result,
    WarmUp,
)
from bench.workers.station import Station
from bench.workers.training import Stopped
from settings.progress import VOICE
from settings.reasons import said

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST_WORDS_SECONDS = 30.0  # what a worker whose parent is gone may take to write its record
TREE = Path(__file__).resolve().parents[2]


def start(load_adapter: LoadAdapter) -> int:
    """Entry of `run.py --worker`: binds the process to its cores first, then works. The exit status."""
    bind(int(os.environ["OMP_NUM_THREADS"]))
    return Worker(load_adapter).work()


class Worker:
    """load_adapter: from a framework's name to models_<name>.adapter.adapter, importing the framework."""

    def __init__(self, load_adapter: LoadAdapter) -> None:
        self.station = Station(load_adapter)
        self.seen = Observations()
        self.build: Build | None = None
        self.answers = _Answers()
        self.interruption = Interruption()
        self.lifeline = Lifeline(self.interruption)

    def work(self) -> int:
        """Serves requests until the parent lets the worker go, or is gone: then 1."""
        self.answers.send(Greeting(PROTOCOL, str(TREE)))
        for request in self.lifeline.requests():
            if isinstance(request.body, Leave):
                self.lifeline.let_go()
                return 0
            if isinstance(request.body, Build):
                self.build = request.body
                self.interruption.allow()
            answer = self._served(request)
            # What its parent may know, the record knows.
            self.seen.add(request.body, answer.body if isinstance(answer, Result) else answer.partial)
            self.answers.send(answer)
        if self.build is None:
            raise SystemExit("run.py --worker: for run.py itself; its standard input must hold requests")
        self._leave_record(self.build)
        return 1

    def _served(self, request: Request) -> Result | Error:
        try:
            self.seen.begin(request.body)
            if isinstance(request.body, WarmUp):
                _settle()
            if isinstance(request.body, Finish):  # also of a run that was interrupted
                return Result(request.number, self.station.serve(request.body, _nobody))
            with self.interruption.serving():
                body = self.station.serve(request.body, lambda body: self._tell(request, body))
            return Result(request.number, body)
        except KeyboardInterrupt as error:
            return self._error(request, "interrupted", str(error) or "interrupted")
        except Refused as error:
            return self._error(request, "refused", str(error))
        except Diverged as error:
            return self._error(request, "diverged", str(error))
        except Stopped as error:
            return self._error(request, "stopped", str(error))
        except Exception as error:  # noqa: BLE001 - whatever happened belongs in the record
            if self.build is not None and self.build.debug:
                traceback.print_exc()
            if self.interruption.reason is not None:  # the signal came out of a library as another exception
                return self._error(request, "interrupted", self.interruption.reason, traceback.format_exc())
            kind = "out_of_memory" if self.station.is_out_of_memory(error) else "failed"
            return self._error(request, kind, said(error), traceback.format_exc())
        finally:
            self.interruption.close()

    def _error(self, request: Request, kind: str, message: str, trace: str | None = None) -> Error:
        return Error(request.number, kind, message, trace, self.station.partial())

    def _tell(self, request: Request, body: Any) -> None:
        with self.interruption.held():
            self.seen.add(request.body, body)
            self.answers.send(Notice(request.number, body))

    def _leave_record(self, build: Build) -> None:
        """The parent is gone: what was measured, as a record, unless the parent has written it."""
        if build.record is None or (Path(build.results_dir) / f"{build.record['id']}.json").exists():
            return
        record = completed(build.record, self.seen)
        set_status(record, "interrupted", self.interruption.reason or GONE)
        try:
            write_record(record, build.results_dir)
        except RecordError as error:  # a full disk, say
            VOICE.say(str(error))


GONE = "run.py, which started this run, is gone"


def _settle() -> None:
    """After a first call: what lives now lives as long as the process, and no later collection of garbage looks at it.
    Before each round one would take longer than the round.
    """
    gc.collect()
    gc.freeze()


def _nobody(body: Any) -> None:
    raise AssertionError(f"nobody waits for {body!r}")


class _Answers:
    """The original standard output, kept for answers alone; from here on file descriptor 1 is standard error's."""

    def __init__(self) -> None:
        self._file = os.dup(1)  # not inherited by what the worker starts
        os.dup2(2, 1)

    def send(self, message: Any) -> None:
        """A line, whole. A parent that is gone is noticed by the lifeline."""
        line = memoryview(encode(message).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._file, line) :]


class Interruption:
    """The first SIGINT or SIGTERM, or the parent's end, ends what is being served: KeyboardInterrupt, with the reason.
    It is never raised between requests, nor while a line is being sent. Later signals change nothing.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.orphaned = False
        self._open = False
        for number in SIGNALS:
            signal.signal(number, self._interrupt)

    def allow(self) -> None:
        """Lets in the signals that run.py has held back since the worker's first line."""
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Inside, it may be raised; at the door, if it has come already."""
        self._open = True
        self._raise_if_come()
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        self._open = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside what is served, for a while: what comes meanwhile is raised at the end."""
        self._open = False
        yield
        self._open = True
        self._raise_if_come()

    def _raise_if_come(self) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt(self.reason)

    def _interrupt(self, number: int, _: object) -> None:
        if self.reason is not None:
            return
        gone = self.orphaned and number == signal.SIGTERM  # which the lifeline sends
        self.reason = GONE if gone else f"interrupted by {signal.Signals(number).name}"
        if self._open:
            raise KeyboardInterrupt(self.reason)


class Lifeline:
    """Standard input: requests, until the parent is gone, which interrupts what is being served.

    A thread reads; it leaves the lines as they are, since what a second thread allocates has a heap of its own, which
    would be a part of the peak.
    """

    def __init__(self, interruption: Interruption) -> None:
        self.interruption, self._held = interruption, True
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def requests(self) -> Iterator[Request]:
        """Each in its turn; waits for the next one. Ends where the parent is gone."""
        while (line := self._lines.get()) is not None:
            try:
                yield decode(line)
            except ProtocolError as error:  # of a parent that has not heeded the greeting
                raise SystemExit(str(error)) from error

    def let_go(self) -> None:
        """From here on its end means nothing."""
        self._held = False

    def _read(self) -> None:
        # A reader of its own: Python's standard input stays for nobody.
        with open(0, "rb", closefd=False) as lines:
            for line in lines:
                self._lines.put(line)
        if not self._held:
            return
        self.interruption.orphaned = True
        self._lines.put(None)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST_WORDS_SECONDS)
        os._exit(1)  # stuck in a compiler, say: nobody waits for this process
