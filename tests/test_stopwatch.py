"""Seconds of calls: known durations come out, the collector rests meanwhile, and a compilation is an error."""

from __future__ import annotations

import gc
import itertools

import pytest
from numpy_framework import Clock, NumpyTrainer

from bench.framework import Recompiled
from bench.measure import stopwatch


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    return clock


def calls(clock, *seconds):
    """Calls that take so long, the last of them for ever; each gives its number."""

    def call(number, taken):
        clock.now += taken
        return number

    durations = itertools.chain(seconds, itertools.repeat(seconds[-1]))
    return (lambda number=number, taken=taken: call(number, taken) for number, taken in enumerate(durations))


def test_a_round_waits_once_and_keeps_what_each_call_gave(clock):
    trainer, kept = NumpyTrainer(), []
    assert stopwatch.calls_in_a_row(trainer, calls(clock, 0.25), kept.append, 8) == 2.0
    assert trainer.waits == 1
    assert kept == list(range(8))


def test_single_calls_are_waited_for_each(clock):
    trainer, kept = NumpyTrainer(), []
    assert stopwatch.single_calls(trainer, calls(clock, 1.0, 2.0, 3.0), kept.append, 3, 100.0) == [1.0, 2.0, 3.0]
    assert trainer.waits == 3
    assert kept == [0, 1, 2]


@pytest.mark.parametrize(("seconds", "count"), [(0.0, 2), (2.5, 3), (100.0, 5)])
def test_single_calls_end_when_their_time_is_over_but_not_before_two(clock, seconds, count):
    assert len(stopwatch.single_calls(NumpyTrainer(), calls(clock, 1.0), id, 5, seconds)) == count


def test_the_first_call_holds_what_was_compiled_ahead(clock):
    def ahead():
        clock.now += 5.0

    assert stopwatch.first_call(NumpyTrainer(), calls(clock, 2.0), id, ahead) == 7.0


@pytest.mark.parametrize("measure", [stopwatch.calls_in_a_row, lambda *how: stopwatch.single_calls(*how, 1.0)])
def test_the_collector_rests_only_while_the_clock_runs(measure):
    states = []
    measure(NumpyTrainer(), itertools.repeat(lambda: states.append(gc.isenabled())), id, 3)
    assert states == [False] * 3
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        stopwatch.calls_in_a_row(NumpyTrainer(), itertools.repeat(lambda: None), id, 1)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_compilation_meanwhile_is_an_error_and_one_before_is_none(clock):
    class Compiling(NumpyTrainer):
        def compilations(self):
            return int(clock.now)

    trainer = Compiling()
    stopwatch.warm_up(trainer, calls(clock, 1.0), id, 3)
    with pytest.raises(Recompiled, match=r"2 program\(s\) were compiled inside the timed part"):
        stopwatch.calls_in_a_row(trainer, calls(clock, 1.0), id, 2)
    stopwatch.calls_in_a_row(trainer, calls(clock, 0.0), id, 2)
