"""What an exception says, in one line that is never empty: some are raised without a word, as EOFError() is."""

from __future__ import annotations

import zlib

_SILENT = {
    EOFError: "it ends early",
    MemoryError: "memory ran out",
    RecursionError: "it is nested too deeply",
    zlib.error: "its bytes do not unpack",
}


def said(error: BaseException) -> str:
    """The exception's own words on one line; where it has none, what its type stands for, or the type's name."""
    own = " ".join(str(error).split())
    return own or next((text for kind, text in _SILENT.items() if isinstance(error, kind)), type(error).__name__)
