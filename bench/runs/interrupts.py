"""Ctrl-C while something must be done whole: it waits until that is over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM are remembered; at the end they do what they would have done. Of the main thread only:
    no other one is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [
        number for number, handler in before.items() if handler is not None
    ]  # None: not Python's, and not to be had
    for number in ours:
        signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
    for came_number, frame in came:
        handler = before[signal.Signals(came_number)]
        if callable(handler):
            handler(came_number, frame)
        elif handler == signal.SIG_DFL:
            signal.raise_signal(came_number)
