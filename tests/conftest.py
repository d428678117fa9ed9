"""What every test shares: JAX in float64 on the CPU, and where the reference values lie."""

from __future__ import annotations

import functools
import gc
import http.server
import os
import sys
import threading
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_X64", "1")  # arrays name their precision; without this float64 would be cut silently
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores: a pool each of all of them is a tenth slower
    for pool in ("OMP_NUM_THREADS", "NPROC"):
        os.environ.setdefault(pool, "1")

import numpy as np
import pytest

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """Where the processes of this test run keep what XLA compiles; it is empty at first."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "programs"


@pytest.fixture(scope="module", autouse=True)
def programs_forgotten(programs):
    """What JAX keeps of a file's programs makes each garbage collection of later tests longer, up to seconds. On the
    disk they are kept for the files to come: a fifth of the time is for compiling the same small ones again.
    """
    if "jax" in sys.modules:
        config = sys.modules["jax"].config
        config.update("jax_compilation_cache_dir", str(programs))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture
def settings_as_before():
    """An adapter sets precision and threads for the process; the other tests get theirs back."""
    import jax
    import torch

    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    x64, jax_matmul = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul)
    jax.config.update("jax_enable_x64", x64)
    jax.config.update("jax_default_matmul_precision", jax_matmul)


@pytest.fixture
def served(tmp_path):
    """A folder, and the address under which a web server on this machine gives its files."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def golden():
    """Loader of a reference file: golden("s5") -> arrays by name; skips where the files are not at hand."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = SHARED / "golden" / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"the reference values are not here ({path.name})")
        with np.load(path) as file:
            return {key: file[key] for key in file.files}

    return load
