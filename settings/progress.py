"""What a person sees while something runs: a bar on a terminal, plain lines in a log.

In a log what counts its steps says a line now and then, and a thread says which work goes on where nothing else was
said for a minute. One clock decides, so that a test moves it by hand. Lines go to stderr and are WIDTH columns wide; a
reader that is gone does not end a run. Not here: what a run says when it ends (bench/views/summary.py).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import TextIO, TypeVar

from tqdm import tqdm

WIDTH = 100
LEAST_SECONDS = 10.0  # between a line and that of an epoch's, or a round's, end
STEADY_SECONDS = 30.0  # between a line and the next of what counts its steps
QUIET_SECONDS = 55.0  # without any line the thread speaks: somebody who looks once a minute sees it
ItemT = TypeVar("ItemT")
Work = str | Callable[[], str]


def wrapped(text: str, indent: str = "  ") -> str:
    """Each line of `text` in lines of WIDTH columns, later ones indented; a longer word, a path say, stays whole."""
    lines = []
    for line in text.splitlines():
        own = line[: len(line) - len(line.lstrip())] + indent
        parts = textwrap.wrap(
            line, WIDTH, subsequent_indent=own, break_long_words=False, break_on_hyphens=False, expand_tabs=False
        )
        lines += [line] if len(line) <= WIDTH else parts
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """'0:42', '12:03', '1:00:09'."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Voice:
    """The lines of one process. stream: None is whatever stderr is. now: seconds, monotonic."""

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._own, self.now = stream, now
        self.title = ""  # what each line begins with: '3/12 s4 torch digits train'
        self._lock = threading.Lock()
        self._said = self._began = now()
        self._work: Work | None = None

    @property
    def stream(self) -> TextIO | None:
        return self._own or sys.stderr

    @property
    def terminal(self) -> bool:
        return self.stream is not None and self.stream.isatty()

    def say(self, text: str) -> None:
        """One line now, wrapped, whoever reads."""
        line = wrapped(f"{self.title}: {text}" if self.title else text) + "\n"
        with self._lock:
            self._said = self.now()
            if self.stream is not None:
                with contextlib.suppress(OSError):  # the reader is gone; the run, and its record, are not
                    self.stream.write(line)  # whole, as other processes write into the same log
                    self.stream.flush()

    def due(self, seconds: float) -> bool:
        """Whether this is a log in which nothing was said for so long."""
        return self.now() - self._said >= seconds and not self.terminal

    def report(self, text: str, seconds: float = 0.0) -> None:
        """One line where it is due."""
        if self.due(seconds):
            self.say(text)

    @contextlib.contextmanager
    def during(self, work: Work | None) -> Iterator[None]:
        """Inside, this is what goes on; None: another process is at work, which speaks for itself."""
        before = self._work, self._began
        self._work, self._began = work, self.now()
        try:
            yield
        finally:
            self._work, self._began = before
            if work is None:
                self._said = self.now()

    def beat(self) -> float:
        """Says what goes on where nothing was said for QUIET_SECONDS; seconds until it may have to again."""
        silent = self.now() - self._said
        if silent < QUIET_SECONDS:
            return QUIET_SECONDS - silent
        work = self._work
        if work is not None and not self.terminal:
            what = work if isinstance(work, str) else work()
            self.say(f"still {what} ({duration(self.now() - self._began)})")
        return QUIET_SECONDS

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Inside, a thread calls beat(): it sleeps, and wakes about once a minute."""
        if self.terminal:
            yield
            return
        end = threading.Event()

        def beats() -> None:
            if sys.platform != "win32":  # Ctrl-C is for the main thread, which may wait in the system
                signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            while not end.wait(self.beat()):
                pass

        thread = threading.Thread(target=beats, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


VOICE = Voice()


class Counter:
    """Steps, files or bytes on their way to a total: tqdm's bar on a terminal, lines in a log.

    unit: "step", "file", ...; "B" is shown in MB. total: None or 0 where it is not known. name: stands before each
    line. shown: True shows the bar, False nothing, None what fits the stream. Use as a context, or call close().
    """

    def __init__(
        self, total: int | None, unit: str, name: str = "", *, shown: bool | None = None, voice: Voice | None = None
    ) -> None:
        self.voice = voice or VOICE
        terminal = self.voice.terminal if shown is None else shown
        self.lines = shown is None and not terminal
        self.done, self._total, self.unit, self.name = 0, total, unit, name
        self.figures: dict[str, str] = {}
        self.bar = tqdm(
            desc=name or None,
            total=total or None,
            unit=unit,
            unit_scale=unit == "B",
            disable=not terminal,
            file=self.voice.stream,
        )
        self.restart()

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def total(self) -> int | None:
        return self._total

    @total.setter
    def total(self, total: int | None) -> None:  # pooch learns it with the first bytes
        self._total = self.bar.total = total or None

    def update(self, count: int = 1) -> None:
        self.done += count
        self.bar.update(count)

    def reset(self) -> None:
        """pooch counts anew at its end, to be exact."""
        self.done = 0
        self.bar.reset()

    def close(self) -> None:
        self.bar.close()

    def show(self, beside: Mapping[str, str], **figures: str) -> None:
        """Figures that stand behind the count from now on; `beside` them in the bar, where there is room for more."""
        self.figures = figures
        self.bar.set_postfix({**figures, **beside}, refresh=False)

    def restart(self) -> None:
        """The rate counts from here: what came before, such as compilation, does not come again."""
        self._from, self._since = self.done, self.voice.now()

    def due(self, seconds: float = STEADY_SECONDS) -> bool:
        """Whether a line is; a look at the clock, and no more."""
        return self.lines and self.voice.due(seconds)

    def report(self, count: str = "", seconds: float = STEADY_SECONDS) -> None:
        """The count as a line where one is due."""
        if self.due(seconds):
            self.voice.say(self.text(count))

    def text(self, count: str = "") -> str:
        """'step 57 of 400, loss 0.5123, 3.1 steps/s, 1:50 left'. count: stands in the place of 'step 57 of 400'."""
        total = self._total or None
        count = count or self._count(total)
        parts = [f"{self.name}: {count}" if self.name else count]
        parts += [f"{name} {value}" for name, value in self.figures.items()]
        done, seconds = self.done - self._from, self.voice.now() - self._since
        if done > 0 and seconds > 0:
            rate = done / seconds
            each = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
            parts.append(f"{rate / 1e6:.1f} MB/s" if self.unit == "B" else f"{each} {self.unit}s/s")
            if total:
                parts.append(f"{duration((total - self.done) / rate)} left")
        return ", ".join(parts)

    def _count(self, total: int | None) -> str:
        if self.unit == "B":
            return f"{self.done / 1e6:,.1f}" + (f" of {total / 1e6:,.1f} MB" if total else " MB")
        return f"{self.unit} {self.done:,}" + (f" of {total:,}" if total else "")


def items(source: Iterable[ItemT], name: str, total: int | None = None, unit: str = "item") -> Iterator[ItemT]:
    """The items of `source`, counted."""
    if total is None and isinstance(source, Sized):
        total = len(source)
    with Counter(total, unit, name) as counter, counter.voice.during(counter.text):
        for item in source:
            yield item
            counter.update()
            counter.report()
