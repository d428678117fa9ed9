"""Imports run one way: conf -> run.py -> bench -> (adapter) -> models -> ssm; datasets know no model.

Read from the source with ast, so that a lazy import inside a function counts like one at the top, and once
in a fresh process. Not covered: names built at run time from more than a constant or the head of an f-string.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TORCH = {"torch", "torchvision", "torchaudio", "functorch", "triton"}
JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}
OURS = {"bench", "datasets", "models_jax", "models_torch", "run", "settings", "ssm"}

# package -> top-level names that it must not import
FORBIDDEN = {
    "settings": TORCH | JAX | (OURS - {"settings"}),
    "ssm": TORCH | JAX | (OURS - {"ssm", "settings"}),
    "datasets": TORCH | JAX | (OURS - {"datasets", "settings"}),
    "bench": TORCH | JAX | {"models_jax", "models_torch", "run"},
    "models_torch": JAX | {"models_jax", "datasets", "run"},
    "models_jax": TORCH | {"models_torch", "datasets", "run"},
}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every absolute import in `source`; `from a import b` gives a.b.

    Also import_module("...") and __import__("..."); of an f-string its constant head.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and _called(node) in {"import_module", "__import__"}:
            name = node.args[0]
            if isinstance(name, ast.JoinedStr) and name.values:
                name = name.values[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def violations(source: str, forbidden: set[str]) -> list[str]:
    """Lines of `source` that import one of `forbidden`; "models_" alone stands for either."""
    found = []
    for line, name in imported(source):
        top = name.split(".")[0]
        if top in forbidden or (top == "models_" and forbidden & {"models_torch", "models_jax"}):
            found.append(f"line {line} imports {name}")
    return found


def sources(package: str) -> list[Path]:
    """All Python files of a package, of which there must be some."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package}/ has no Python files"
    return files


def in_package(package: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} {each}"
        for path in sources(package)
        for each in violations(path.read_text(), forbidden)
    ]


@pytest.mark.parametrize(
    "source, found",
    [
        ("import torch", True),
        ("import numpy, torch.nn as nn", True),
        ("def f():\n    from torch import nn", True),
        ("if TYPE_CHECKING:\n    import torch", True),
        ("import importlib\nimportlib.import_module('torch.fft')", True),
        ("from importlib import import_module\nimport_module(f'models_{name}.adapter')", True),
        ("__import__('models_torch')", True),
        ("import torchless", False),
        ("from . import torch", False),
        ("text = 'import torch'", False),
        ("import numpy", False),
    ],
)
def test_the_checker_sees_what_it_must(source: str, found: bool) -> None:
    assert bool(violations(source, TORCH | {"models_torch"})) is found


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_packages_import_one_way(package: str) -> None:
    assert in_package(package, FORBIDDEN[package]) == []


def test_ssm_needs_numpy_and_scipy_only() -> None:
    allowed = {"ssm", "settings", "numpy", "scipy"} | sys.stdlib_module_names
    foreign = [
        f"{path.name} line {line} imports {name}"
        for path in sources("ssm")
        for line, name in imported(path.read_text())
        if name.split(".")[0] not in allowed
    ]
    assert foreign == []


@pytest.mark.parametrize("package", ["models_torch", "models_jax"])
def test_only_the_adapter_knows_the_protocol_and_nothing_else_of_bench(package: str) -> None:
    found = {
        (path.name, name)
        for path in sources(package)
        for _, name in imported(path.read_text())
        if name.split(".")[0] == "bench"
    }
    beyond = {
        (file, name) for file, name in found if file != "adapter.py" or not f"{name}.".startswith("bench.framework.")
    }
    assert beyond == set()


def test_run_names_no_framework_in_an_import_statement() -> None:
    # it finds models_{framework}.adapter by name, in the worker; nothing else may bring a framework in
    statements = [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse((ROOT / "run.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in TORCH | JAX | {"models_torch", "models_jax"}
    ]
    assert statements == []


def public_classes(path: Path) -> set[str]:
    body = ast.parse(path.read_text()).body
    return {node.name for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}


def test_the_frameworks_folders_mirror_each_other() -> None:
    torch_files, jax_files = ({path.name for path in sources(p)} for p in ("models_torch", "models_jax"))
    assert torch_files == jax_files
    assert {"__init__.py", "adapter.py", "network.py", "s4.py", "dss.py", "s5.py"} <= torch_files


def test_mirrored_files_have_the_same_classes() -> None:
    for path in sources("models_torch"):
        other = ROOT / "models_jax" / path.name
        assert other.exists(), f"models_jax/{path.name} is missing"
        if path.name != "functional.py":  # jit needs the module as pure functions, PyTorch takes it as it is
            assert public_classes(path) == public_classes(other), path.name


@pytest.mark.parametrize("module", ["run", "bench", "datasets", "datasets.registry", "ssm"])
def test_importing_loads_no_framework_and_nothing_heavy(module: str) -> None:
    """In a process of its own: the parent that a user starts must stay without a framework, and quick."""
    heavy = sorted(TORCH | JAX | {"wandb", "sklearn", "models_torch", "models_jax"})
    script = f"import sys, {module}; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
