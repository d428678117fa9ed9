"""Peaks of a real allocation in a process of its own, where no other test's memory is in the way.

And when compilers are imported and run, on which both the baseline and the peak of the steps depend.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from numpy_framework import NumpyTrainer, small_data
from test_adapters import build, data
from test_training import SETTINGS

from bench.measure.memory import PeakMeter, compile_ahead
from bench.workers.training import train_task

pytestmark = pytest.mark.usefixtures("settings_as_before")

ROOT = Path(__file__).parents[1]
SCRIPT = """
import json, sys
import numpy as np
sys.path[:0] = [{root!r}, {tests!r}]
from numpy_framework import NumpyTrainer
from bench.measure import memory
start = memory.baseline()
meter = memory.PeakMeter(NumpyTrainer(), start)
compiling = np.ones(200 * 2**17); del compiling      # 200 MiB
meter.mark_steady()
step = np.ones(50 * 2**17); del step                 # 50 MiB
print(json.dumps(meter.section()))
"""


def test_peak_counts_from_the_baseline_and_steady_peak_leaves_the_first_call_out():
    script = SCRIPT.format(root=str(ROOT), tests=str(ROOT / "tests"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    section = json.loads(done.stdout)
    assert 200 * 2**20 <= section["peak_bytes"] < 230 * 2**20
    if section["steady_peak_bytes"] is not None:  # null where the system cannot restart its peak
        assert 50 * 2**20 <= section["steady_peak_bytes"] < 90 * 2**20
    assert section["source"].startswith("resident")
    assert section["compiled_bytes"] is None


FREED = """
import sys
sys.path[:0] = [{root!r}]
from bench.measure import machine
blocks = [bytes(2000) for _ in range(100_000)]  # 200 MB in blocks too small to be given back one by one
last = bytes(2000)  # at the heap's end, so that the end cannot simply move
del blocks
kept = machine.resident_bytes()
machine.release_freed()
print(kept - machine.resident_bytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
def test_freed_memory_goes_back_to_the_system():
    script = FREED.format(root=str(ROOT))
    environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=68719476736"}  # as in a worker
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    assert int(done.stdout) > 100 * 2**20


AHEAD = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from numpy_framework import NumpyTrainer
from bench.measure import machine, memory

class Compiler(NumpyTrainer):
    def compile(self, batch):
        blocks = [bytes(2000) for _ in range(100_000)]  # 200 MB, freed on return
        self.last = bytes(2000)
        return compiles

for compiles in (False, True):
    before = machine.resident_bytes()
    memory.compile_ahead(Compiler(), None)
    print(machine.resident_bytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
def test_freed_memory_goes_back_after_a_compilation_only():
    script = AHEAD.format(root=str(ROOT), tests=str(ROOT / "tests"))
    environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=68719476736"}  # as in a worker
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    eager, compiled = map(int, done.stdout.split())
    assert eager > 150 * 2**20
    assert compiled < -100 * 2**20  # what the eager one kept is given back, too


def test_training_compiles_ahead_once_before_its_first_step():
    calls = []

    class Compiler(NumpyTrainer):
        def compile(self, batch):
            calls.append(("compile", batch[0].shape))
            return True

        def train_step(self, batch, scale):
            calls.append(("step", batch[0].shape))
            return super().train_step(batch, scale)

    train_task(Compiler(), small_data(), {**SETTINGS, "length": 6}, {}, seed=0, ledger={}, progress=False)
    assert calls == [("compile", (16, 6, 3)), *[("step", (16, 6, 3))] * 40]


def test_a_jax_step_after_compile_ahead_compiles_nothing():
    trainer, compiled = build("jax"), []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(seconds)

    batch = trainer.put(*data())
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        compile_ahead(trainer, batch)
        assert len(compiled) == 1
        for scale in (1.0, 0.5):
            trainer.wait(trainer.train_step(batch, scale))
        assert len(compiled) == 1
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


FIRST = """
import importlib, json, sys
sys.path[:0] = [{root!r}]
import numpy as np
from bench.framework import ModelSpec, OptimiserSpec
from ssm.network import initial, network_options, ssm_parameter_names
adapter = importlib.import_module("models_{framework}.adapter").adapter("cpu", "fp32", 1, {compile!r})
baseline = set(sys.modules)  # bench.measure.memory reads its own here
options = network_options("s5", 2, 4, 12, dict(d_model=8, n_blocks=1, n=8))
spec = ModelSpec("s5", options, initial(options, 0), ssm_parameter_names(options))
trainer = adapter.build(spec, OptimiserSpec(), 0)
if {step}:  # torch.compile takes half a minute for one
    batch = trainer.put(np.ones((3, 12, 2), np.float32), np.ones(3, np.int32))
    trainer.compile(batch)
    trainer.read(trainer.train_step(batch, 1.0))
print(json.dumps([sorted(baseline), sorted(set(sys.modules) - baseline)]))
"""


@pytest.mark.parametrize(
    "framework, compile, step, compiler",
    [
        ("jax", "default", True, "jaxlib.mlir"),
        ("torch", "none", True, "torch._dynamo"),
        ("torch", "default", False, "torch._inductor.compile_fx"),
    ],
)
def test_adapters_import_their_compilers_before_the_baseline(framework, compile, step, compiler):
    script = FIRST.format(root=str(ROOT), framework=framework, compile=compile, step=step)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    baseline, later = (
        [name for name in names if f"{name}.".startswith(f"{compiler}.")] for names in json.loads(done.stdout)
    )
    assert baseline
    assert later == []


def test_a_device_that_counts_for_itself_is_believed():
    class Device(NumpyTrainer):
        def peak_bytes(self):
            return 123

        def compiled_bytes(self):
            return 45

    section = PeakMeter(Device(), 10).section()
    assert section["peak_bytes"] == 123
    assert section["source"] == "device allocator"
    assert section["compiled_bytes"] == 45
