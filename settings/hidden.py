"""Files that systems and programs leave among others, in any folder, and that belong to no data set.

No published data set has a file of such a name. What a set's own list names is looked for under that name whatever this
says: a list is never shortened.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

# Compared without regard to case, as Windows and macOS do.
_NAMES = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler"),  # Windows
        *("system volume information", "autorun.inf", "folder.htt"),
        *("icon\r", "__macosx", "network trash folder", "temporary items"),  # macOS
        *("@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "@tmp", "lost+found"),  # stores, Linux
        *("__pycache__",),
    }
)
_STREAMS = (":zone.identifier", "_zone.identifier", "@synoeastream", "@synoresource")  # behind a file's own name


def is_foreign(name: str) -> bool:
    """Whether a name (of a file or a folder, without its path) is one that systems and programs leave.

    Those that begin with a dot: `.DS_Store`, `._clip.wav`, `.ipynb_checkpoints`, an editor's `.x.swp`; those above; and
    `~$report.docx`, the mark of an office program.
    """
    if name in (".", ".."):
        return False
    lower = name.lower()
    return lower.startswith((".", "~$")) or lower in _NAMES or lower.endswith(_STREAMS)


def own(names: Iterable[str]) -> list[str]:
    """The names that are not foreign, sorted: the same order on every machine."""
    return sorted(name for name in names if not is_foreign(name))


def lies_hidden(path: str) -> bool:
    """Whether a path in an archive, with slashes, has a foreign name in it."""
    return any(is_foreign(part) for part in PurePosixPath(path).parts)
