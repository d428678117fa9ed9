"""Sets that are published and can be generated too: setting `source` says which of the two is used.

auto takes the published files, or what was prepared from them, and generates where there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets.data import DataError
from datasets.store.cache import Fingerprint, Prepared, Recipe, kept, prepared

SOURCES = ("auto", "published", "generated")


def arrays(
    source: str,
    data_dir: Path,
    published: tuple[Recipe, Fingerprint | None, Callable[[Path], Mapping[str, Any]]],
    generated: tuple[Recipe, Callable[[Path], Mapping[str, Any]]],
) -> Prepared:
    """Prepared arrays, with notes["generated"]. published: recipe, fingerprint (None: no files) and `make`."""
    recipe, fingerprint, make = published
    if source == "published" or (source == "auto" and (fingerprint is not None or kept(recipe, data_dir))):
        return prepared(recipe, data_dir, fingerprint, make)
    recipe, make = generated
    return prepared(recipe, data_dir, "generated", make)


def first_folder(data_dir: Path, folders: tuple[str, ...], evidence: tuple[str, ...], hint: str) -> Path | None:
    """The first of data_dir's folders with one of the evidence; None where none of the folders is there.

    A folder without any of it is refused, as it is not what its name says.
    """
    known = [data_dir / folder for folder in folders]
    for folder in known:
        if any((folder / name).exists() for name in evidence):
            return folder
    for folder in known:
        if folder != data_dir and folder.exists():
            raise DataError(f"{folder}: {', '.join(evidence)} not found in it; {hint}, or remove the folder")
    return None
