"""README.md is true: its commands compose, its files exist, its tables are those of the records.

Its snippets run in tests/test_wheel.py, on what pip installs.
"""

from __future__ import annotations

import itertools
import re
import shlex

import pytest
from commands import ROOT, composed, described

from bench import peers, table
from bench.runs.check import check
from bench.views import tables
from datasets import registry

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line.split("#")[0])[2:] for line in TEXT.splitlines() if line.startswith("python run.py")]
# "- `model=` `s4` `dss`. `model.d_model`, ...": a group, its choices, its settings
GROUPS = re.findall(r"^- `(\w+)=` (.*?)\.\s+(.*?)(?=\n- |\n\n)", TEXT, re.MULTILINE | re.DOTALL)
REFERENCE = ROOT / "results" / "reference"
DOCUMENTS = ["README.md", "docs/datasets.md", "docs/performance.md"]
# "- `NAME`: what was measured: `README.md`, `docs/x.md`." in results/README.md
SITTINGS = {
    name: re.findall(r"`([\w/]+\.md)`", text)
    for name, text in re.findall(
        r"^- `([\w.-]+\.sitting\.jsonl)`(.*?)(?=\n- |\n\n)",
        (ROOT / "results" / "README.md").read_text(),
        re.M | re.DOTALL,
    )
}
GENERATED = re.compile(r"<!-- (\S+) -->.*?<!-- /\1 -->", re.DOTALL)


def jobs(words: list[str]) -> list[list[str]]:
    """The configurations of a command: with -m, one for each combination of the values between commas."""
    if "-m" not in words:
        return [words]
    pairs = [word.partition("=") for word in words if word != "-m"]
    return [list(job) for job in itertools.product(*([f"{n}={v}" for v in vs.split(",")] for n, _, vs in pairs))]


JOBS = [job for words in COMMANDS if words != ["--help"] for job in jobs(words)]


def test_it_has_both_frameworks_snippets_and_commands():
    imports = [re.findall(r"from (models_\w+) import", snippet) for snippet in SNIPPETS]
    assert imports == [["models_torch"], ["models_jax"]]
    assert len(JOBS) > 10


@pytest.mark.parametrize("words", JOBS, ids=" ".join)
def test_a_command_composes_and_would_be_run(words, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "prepare", described)  # fetches nothing
    check(composed(*words) | {"results_dir": str(tmp_path)})


def test_the_settings_it_names_exist():
    rows = [row for row in GROUPS if row[0] in ("model", "framework", "dataset", "task")]
    assert len(rows) == 4
    values = {"default", "none"}  # quoted there beside the settings
    for group, choices, named in rows:
        configs = [composed(f"{group}={choice}") for choice in re.findall(r"[\w-]+", choices)]
        known = set().union(*(flat(config[group]) for config in configs))
        names = {name.removeprefix(f"{group}.") for name in re.findall(r"`([a-z_.]+)`", named)} - values
        assert names, group
        assert names <= known, group


def flat(settings: dict) -> set[str]:
    return {
        dotted
        for name, value in settings.items()
        for dotted in ([f"{name}.{inner}" for inner in flat(value)] if isinstance(value, dict) else [name])
    }


def test_the_groups_it_lists_are_those_of_conf():
    listed = {group: choices for group, choices, _ in GROUPS if "`" in choices.replace("`--help`", "")}
    for group, choices in listed.items():
        there = {path.stem for path in (ROOT / "conf" / group).glob("[!_]*.yaml")}
        assert set(re.findall(r"[\w-]+", choices)) == there, group
    assert set(listed) == {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} - {"experiment"}


def test_the_files_it_names_exist():
    links = re.findall(r"\]\(([^):]+)\)", TEXT)
    quoted = re.findall(r"`((?:[\w.]+/)+[\w.]*|[\w./]+\.(?:py|md|txt|yaml|toml))`", TEXT)
    beside = {"adapter.py"}  # of models_<name>/
    missing = [name for name in {*links, *quoted} - beside if not (ROOT / name).exists()]
    assert missing == []
    assert len(links) >= 2
    assert len(quoted) >= 5


def test_its_marked_tables_are_ones_that_the_records_can_fill():
    names = tables.OPENED.findall(TEXT)
    assert names == ["compare.train_step"]
    assert [match["name"] for match in tables.MARKED.finditer(TEXT)] == names


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tables_are_those_of_the_sittings_that_are_named_for_them(document):
    sittings = [str(REFERENCE / name) for name, documents in SITTINGS.items() if document in documents]
    assert sittings
    assert table.main(["--readme", str(ROOT / document), "--check", *sittings]) == 0


def test_each_sitting_is_named_with_the_tables_that_it_supports():
    assert {path.name for path in REFERENCE.iterdir()} == SITTINGS.keys()
    assert {document for documents in SITTINGS.values() for document in documents} == set(DOCUMENTS)


def test_no_line_of_markdown_that_a_person_edits_is_wider_than_130():
    folders = (ROOT, ROOT / "docs", ROOT / "results")
    for path in (path for folder in folders for path in folder.glob("*.md")):
        written = GENERATED.sub("", path.read_text(encoding="utf-8"))
        assert [line for line in written.splitlines() if len(line) > 130] == [], path.name


def test_the_comparison_with_public_implementations_is_that_of_its_samples():
    files = sorted((ROOT / "results" / "peers").glob("*.jsonl"))
    assert peers.main([*map(str, files), "--readme", str(ROOT / "docs" / "performance.md"), "--check"]) == 0
