"""The catalogue of data sets: each states its protocols in one shape, as the documents say; the rooms' arrows.

Not covered here: what a protocol does, which the tests of each data set compare with its source.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from test_imports import imported

from datasets import registry
from datasets.parts.protocols import SOURCES, Protocol, chosen

ROOT = Path(__file__).parents[1]
DATASETS = ROOT / "datasets"
DOCUMENT = (ROOT / "docs" / "datasets.md").read_text()
ROOMS = sorted(path.parent.name for path in DATASETS.glob("*/__init__.py"))

# what the files of a room may import of datasets; "catalogue" is every data set
MAY_IMPORT = {
    "store": {"data", "store"},
    "files": {"data", "store", "generators", "files"},
    "generators": {"generators"},
    "parts": {"data", "store", "files", "generators", "parts"},
    "catalogue": {"data", "store", "files", "generators", "parts"},
}


def module_of(name: str) -> Path:
    return DATASETS / f"{name.replace('-', '_')}.py"


def protocols_of(name: str) -> tuple[Protocol, ...]:
    """As the data set states them; none where it has no such setting."""
    return getattr(import_module(f"datasets.{module_of(name).stem}"), "PROTOCOLS", ())


def settings_of(name: str) -> dict:
    return yaml.safe_load((ROOT / "conf" / "dataset" / f"{name}.yaml").read_text())


# --- protocols


@pytest.mark.parametrize("name", registry.names())
def test_a_data_set_states_the_protocols_that_its_setting_takes(name: str) -> None:
    protocols = protocols_of(name)
    assert ("protocol" in settings_of(name)) is bool(protocols)
    assert all(type(protocol) is Protocol for protocol in protocols)
    for protocol in protocols:
        description = registry.describe({**settings_of(name), "protocol": protocol.name})
        assert (description.protocol, description.selects_on_test) == (protocol.name, protocol.selects_on_test)
    if protocols:
        listed = ", ".join(protocol.name for protocol in protocols)
        with pytest.raises(ValueError, match=rf"dataset\.protocol='mine': must be one of {listed}; choose one of"):
            registry.describe({**settings_of(name), "protocol": "mine"})


@pytest.mark.parametrize("name", registry.names())
def test_the_default_is_first_and_honest(name: str) -> None:
    protocols = protocols_of(name)
    assert [protocol.name for protocol in protocols][:1] in ([], ["default"])
    assert not any(protocol.selects_on_test for protocol in protocols[:1])
    assert len({protocol.name for protocol in protocols}) == len(protocols)


@pytest.mark.parametrize("name", registry.names())
def test_the_document_lists_the_protocols(name: str) -> None:
    line = re.search(rf"^- `{name}`: (.*?)(?=\n- |\n\n)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert line is not None
    beside_default = [protocol.name for protocol in protocols_of(name) if protocol.name != "default"]
    assert re.findall(r"`(\w+)`", line[1].split("; ")[-1]) == beside_default


def test_the_document_names_the_source_of_every_protocol() -> None:
    used = {protocol.name: protocol.source for name in registry.names() for protocol in protocols_of(name)}
    assert used == SOURCES
    text = " ".join(DOCUMENT.split())
    for name, source in used.items():
        assert name == "default" or f"`{name}` ({source})" in text


def test_a_protocol_of_no_known_source_is_our_mistake() -> None:
    known = protocols_of("smnist")[0]
    with pytest.raises(AssertionError, match="mine"):
        Protocol("mine", known.split, known.values)
    assert chosen({"protocol": "default"}, protocols_of("smnist")) is known


# --- rooms


def test_every_room_has_its_rule_and_its_sentence() -> None:
    assert set(MAY_IMPORT) == {*ROOMS, "catalogue"}
    for room in ROOMS:
        assert (DATASETS / room / "__init__.py").read_text().startswith('"""')
        assert f"- {room}/ " in (DATASETS / "__init__.py").read_text()


def beyond(path: Path, room: str) -> list[str]:
    """What the file imports of datasets and may not."""
    ours = [name.split(".") for _, name in imported(path.read_text()) if name.split(".")[0] == "datasets"]
    own = [parts for parts in ours if len(parts) == 1 or parts[1] not in MAY_IMPORT[room]]
    return [f"{path.relative_to(ROOT)} imports {'.'.join(parts)}" for parts in own]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room: str) -> None:
    assert [each for path in sorted((DATASETS / room).glob("*.py")) for each in beyond(path, room)] == []


@pytest.mark.parametrize("name", registry.names())
def test_a_data_set_knows_the_rooms_and_no_other_data_set(name: str) -> None:
    assert beyond(module_of(name), "catalogue") == []


def test_what_is_no_data_set_stands_at_the_top_only_if_the_project_calls_it() -> None:
    others = {path.stem for path in DATASETS.glob("*.py")} - {module_of(name).stem for name in registry.names()}
    assert others == {"__init__", "batches", "data", "registry"}


@pytest.mark.parametrize("package", ["bench", "run.py"])
def test_the_project_calls_the_top_and_no_data_set(package: str) -> None:
    path = ROOT / package
    names = {
        name.split(".")[1]
        for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))
        for _, name in imported(file.read_text())
        if name.startswith("datasets.")
    }
    assert names <= {"batches", "data", "registry"}
