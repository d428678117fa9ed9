"""What pip installs from the repository is the library, and the README's library section runs on that alone.

The wheel goes into an environment of its own, which takes the frameworks from this one's folder: nothing is fetched,
and what this environment knows of the clone (an editable installation) is not known there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from commands import ROOT

SNIPPETS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.M)
LIBRARY = {"models_jax", "models_torch", "settings", "ssm"}
BENCH = ("bench", "datasets", "run", "conf")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="environments have another layout there")


def pip(*words: str | Path, python: str = sys.executable) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> tuple[str, Path]:
    """The interpreter and the folder of packages of an environment that holds the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"  # setuptools leaves build/ and an egg-info beside what it builds
    for name in (*LIBRARY, "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        copy(source, tree / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, tree)
    venv.create(folder / "env", with_pip=False, symlinks=True)
    python = str(folder / "env" / "bin" / "python")
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    (wheel,) = folder.glob("*.whl")
    pip("install", "--no-deps", "--no-index", "--target", packages, wheel)
    # a folder on the path, not a folder of packages: its own .pth files (our editable installation) are not read
    (packages / "frameworks.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python, packages


def test_it_holds_the_library_and_nothing_of_the_bench(installed):
    _, packages = installed
    found = {path.name for path in packages.iterdir() if path.suffix not in (".pth", ".dist-info")}
    assert found - {"__pycache__"} == LIBRARY


def test_no_module_of_the_bench_can_be_imported(installed, tmp_path):
    python, _ = installed
    code = f"import importlib.util; print([name for name in {BENCH!r} if importlib.util.find_spec(name)])"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: re.findall(r"from (models_\w+)", snippet)[0])
def test_the_readme_s_library_section_runs_on_it(installed, snippet, tmp_path):
    python, packages = installed
    name = re.findall(r"from (models_\w+) import", snippet)[0]
    code = f"{snippet}\nimport {name}\nassert {name}.__file__.startswith({str(packages)!r}), {name}.__file__\n"
    hidden = ("JAX_ENABLE_X64", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [python, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
