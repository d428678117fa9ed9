"""What every command does with its output streams: no sign stops it, and a reader that is gone ends it quietly.

A sign that the stream's encoding lacks is written as a readable one of ASCII, of the same width so that tables stay
straight, and any other letter by its number (\\xfc). Not here: files, which are UTF-8 whatever the locale is.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable

CLOSED = 141  # the exit status of a command that the shell ends for the same reason, SIGPIPE
FULL = (errno.ENOSPC, errno.EDQUOT)
STAND_INS = {
    "≈": "~", "†": "+", "‡": "#", "§": "$", "◊": "*", "–": "-", "—": "-", "×": "x", "·": ".", "…": ".", "≤": "<",
    "≥": ">", "’": "'", "‘": "'", "“": '"', "”": '"', "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip


def readable(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: STAND_INS, and backslashes for what is not in it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_stand_in, text)), error.end


def _stand_in(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # a byte of a file's name that the locale could not read
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return STAND_INS.get(sign) or sign.encode("ascii", "backslashreplace").decode()


codecs.register_error("readable", readable)


def command(main: Callable[[], int | None]) -> int:
    """The exit status of a command's `main`, run with streams that take every sign: the entry of every command.

    CLOSED where the reader of its output is gone, as behind `| head -1`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else it is closed, or somebody's own
            stream.reconfigure(errors="readable")
    try:
        try:
            return main() or 0
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.EPIPE, *FULL):
            raise
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            return CLOSED
        print(f"the output cannot be written ({error.strerror}); free some space where it goes", file=sys.stderr)
        return 1
