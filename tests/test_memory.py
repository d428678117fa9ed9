"""Peaks of a real allocation in a process of its own, where no other test's memory is in the way."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from numpy_framework import NumpyTrainer

from bench.memory import PeakMeter

ROOT = Path(__file__).parents[1]
SCRIPT = """
import json, sys
import numpy as np
sys.path[:0] = [{root!r}, {tests!r}]
from numpy_framework import NumpyTrainer
from bench import memory
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
from bench import machine
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
