"""What is read around a round: page faults, switches, others' time on these cores."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time

import pytest

from bench.measure import counters

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
TICK = 1 / os.sysconf("SC_CLK_TCK")


def around(work):
    before = counters.counts()
    work()
    return counters.between(before, counters.counts())


def test_touching_new_pages_is_seen():
    pages = mmap.mmap(-1, 2**20)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    assert around(lambda: pages.write(bytes(2**20))).faults >= 2**20 // mmap.PAGESIZE


def test_the_process_s_own_work_is_not_others():
    cores = os.sched_getaffinity(0)
    seconds = 0.4

    def work():
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    beside = around(work)
    assert beside.others_seconds <= len(cores) * (seconds + TICK)  # what else ran, but not this loop beside it
    own = counters.counts()
    assert own.own_seconds >= seconds * 0.3


def test_another_process_s_work_on_these_cores_is_seen():
    busy = [sys.executable, "-c", "import time\nwhile time.process_time() < .5: pass"]
    assert around(lambda: subprocess.run(busy, check=True)).others_seconds > 0.3


def test_where_the_system_does_not_say_nothing_is_claimed(monkeypatch, tmp_path):
    monkeypatch.setattr(counters, "STAT", tmp_path / "absent")
    beside = around(lambda: None)
    assert beside.others_seconds is beside.stolen_seconds is None


def test_stolen_time_is_read_by_core(monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    monkeypatch.setattr(counters, "STAT", stat)
    core = min(os.sched_getaffinity(0))

    def tell(busy, stolen):
        stat.write_text(
            f"cpu 9 9 9 9 9 9 9 9 0 0\ncpu{core} {busy} 0 0 50 50 0 0 {stolen} 0 0\ncpu99999 7 7 7 7 7 7 7 7\n"
        )

    tell(100, 5)
    before = counters.counts()
    tell(300, 25)
    beside = counters.between(before, counters.counts())
    assert beside.stolen_seconds == pytest.approx(20 * TICK)
    assert beside.others_seconds == pytest.approx(200 * TICK, abs=0.1)
