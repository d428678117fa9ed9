"""The rooms of bench: who imports whom, as CONTRIBUTING.md draws it; arrows run one way.

Read from the source, so that an import inside a function counts. `settings/` may be used by all and is not drawn.
"""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from test_imports import imported

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"
TEXT = " ".join((ROOT / "CONTRIBUTING.md").read_text().partition("### The rooms of bench")[2].split())
FOLDERS = sorted(path.parent.name for path in BENCH.glob("*/__init__.py"))
ROOMS = {"commands", "framework.py", *(f"{name}/" for name in FOLDERS)}
OUTSIDE = {"datasets", "ssm"}  # packages below bench


def drawn() -> dict[str, set[str]]:
    """Room -> what it uses, as the document says."""
    lines = re.findall(r"- `([\w./]+)` uses? (.*?)\. ", TEXT)
    return {room: set(re.findall(r"`([\w./]+)`", used)) for room, used in lines}


def room_of(path: Path) -> str:
    below = path.relative_to(BENCH)
    if len(below.parts) > 1:
        return f"{below.parts[0]}/"
    return "framework.py" if below.name == "framework.py" else "commands"


def used(path: Path) -> set[str]:
    """The rooms, and packages below bench, that a file imports from; not its own."""
    found = set()
    for _, name in imported(path.read_text()):
        top, _, below = name.partition(".")
        room = below.partition(".")[0]
        if top in OUTSIDE:
            found.add(f"{top}/")
        elif top == "bench" and room in FOLDERS:
            found.add(f"{room}/")
        elif top == "bench":
            found.add("framework.py" if room == "framework" else "commands")
    return found - {room_of(path)}


def arrows() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for path in BENCH.rglob("*.py"):
        found[room_of(path)] |= used(path)
    return found


def test_the_document_draws_every_room() -> None:
    assert set(drawn()) == ROOMS
    for room in ROOMS:
        assert re.search(rf"- `{re.escape(room)}` uses? [^.]*\.?[^.]*\. [A-Z]", TEXT), (
            f"{room}: what it may do is not said"
        )


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_uses_what_is_drawn_and_all_of_it(room: str) -> None:
    assert arrows()[room] == drawn().get(room)


def test_arrows_run_one_way() -> None:
    TopologicalSorter(arrows()).prepare()  # raises CycleError where two rooms use each other


def test_what_lies_flat_is_a_command() -> None:
    """Words, help, exit status: each is entered as one, and has a `main` that gives the status."""
    for path in BENCH.glob("*.py"):
        if path.name in ("__init__.py", "framework.py"):
            continue
        text = path.read_text()
        assert "sys.exit(command(main))" in text, path.name
        assert re.search(r"^def main\(.*\) -> int:$", text, re.MULTILINE), path.name
