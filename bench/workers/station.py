"""One network that serves requests: what a worker does, without any process or pipe around it.

Framework, data, model and optimiser come in with Build; every other request is about that one network. What is timed
runs on batches that lie on the device beforehand and take turns, the same ones in each framework.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.framework import Adapter, Handle, Recompiled, Trainer
from bench.measure import counters, memory, stopwatch
from bench.measure.watch import Watch
from bench.store import checkpoints
from bench.store.checkpoints import Checkpoint
from bench.workers import protocol
from bench.workers.building import Building, LoadAdapter, Parts
from bench.workers.keeper import Keeper
from bench.workers.protocol import Build, Built, Done, Epoch, MemoryNow, Refused, Timed, Trained, Turned
from bench.workers.traces import read_state, write_state, write_trace
from bench.workers.training import hold_limit, train_task
from settings.progress import VOICE
from settings.reasons import said

BATCHES_IN_TURN = 4
SETTLE_SECONDS = 0.02  # after a round, for pools that spin while they wait for more work: libgomp's does for some ms
Tell = Callable[[Any], None]  # sends the body of a notice


class Station:
    """partial(): what the request that is being served, or that failed, has found so far; None without any."""

    def __init__(self, load_adapter: LoadAdapter) -> None:
        self.load_adapter = load_adapter
        self.adapter: Adapter | None = None
        self.partial: Callable[[], Any] = _nothing
        self._phases: dict[str, _Phase] = {}
        self._on_device: list[Any] = []
        self._turned: tuple[float, float] | None = None  # when the last turn ended: the clock's, the process's own time

    def serve(self, request: Any, tell: Tell) -> Any:
        """The answer's body. Raises Refused, and whatever may go wrong."""
        self.partial = _nothing
        if isinstance(request, Build):
            return self._build(request)
        return self._on_network(request, tell)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether memory ran out, in NumPy or, as its adapter knows, in the framework."""
        return isinstance(error, MemoryError) or (self.adapter is not None and self.adapter.is_out_of_memory(error))

    def _build(self, request: Build) -> Built:
        building = Building(request)
        self.partial = building.so_far
        self.adapter = building.load_framework(self.load_adapter)
        self.parts: Parts = building.build(self.adapter)
        self.request, self.ledger = request, building.ledger
        self._be_alone()
        return building.so_far()

    def _on_network(self, request: Any, tell: Tell) -> Any:
        trainer = self.parts.trainer
        match request:
            case protocol.FirstCall(phase):
                return Timed([self._first_call(phase)])
            case protocol.WarmUp(phase, calls):
                self._phases[phase].warm_up(calls)
            case protocol.Singles(phase, calls, seconds):
                return Timed(self._phases[phase].single_calls(calls, seconds))
            case protocol.Round(phase, calls):
                return Timed([self._phases[phase].calls_in_a_row(calls)])
            case protocol.Keep():
                trainer.keep()
            case protocol.Turn():
                return self._turn(request)
            case protocol.Memory():
                return MemoryNow(self.parts.meter.section())
            case protocol.Train():
                return self._train(request, tell)
            case protocol.Trace(path, steps):
                write_trace(trainer, [trainer.put(x, y) for x, y in self.parts.batches(steps)], path)
            case protocol.StateOut(path):
                write_state(trainer, path)
            case protocol.StateIn(path):
                try:
                    read_state(trainer, path)
                except ValueError as error:
                    raise Refused(said(error)) from error
            case protocol.Finish():
                self._be_alone()
            case _:
                raise Refused(f"{type(request).__name__} cannot be asked of a built network")
        return Done()

    def _first_call(self, phase: str) -> float:
        trainer, trains = self.parts.trainer, phase == "train_step"
        if phase not in self._phases:
            watch = Watch(trainer, phase, BATCHES_IN_TURN)
            self._phases[phase] = _Phase(trainer, phase, self._calls(phase), watch)
        ahead = partial(memory.compile_ahead, trainer, self._turns()[0]) if trains else _nothing
        seconds = self._phases[phase].first_call(ahead)
        if trains:
            self.parts.meter.mark_steady()
        return seconds

    def _turn(self, request: protocol.Turn) -> Turned:
        came = time.perf_counter(), time.process_time()
        last, self._turned = self._turned, None
        self.parts.trainer.put_back()
        phase = self._phases[request.phase]
        phase.warm_up(request.warm)
        before = counters.counts()
        seconds = phase.calls_in_a_row(request.calls + request.more)
        beside = counters.between(before, counters.counts())
        time.sleep(SETTLE_SECONDS)  # outside all clocks: nobody else has a round before this one has answered
        self._turned = time.perf_counter(), time.process_time()
        if last is None:
            return Turned(seconds, beside)
        return Turned(seconds, beside, waiting_seconds=came[1] - last[1], waited_seconds=came[0] - last[0])

    def _calls(self, phase: str) -> stopwatch.Calls:
        """An endless iterator of the phase's calls, over batches in turn. Refused where there is no such form."""
        trainer = self.parts.trainer
        if phase == "train_step":
            return _in_turn(lambda batch: trainer.train_step(batch, 1.0), self._turns())
        if phase == "forward":
            return _in_turn(trainer.forward, self._turns())
        if phase != "recurrent_step":
            raise Refused(f"phase {phase!r} is unknown")
        try:
            trainer.start_recurrence(self.parts.batch_size)
        except ValueError as error:
            raise Refused(said(error)) from error
        steps = [x[:, 0] for x, _ in self.parts.batches(self._turn_count())]
        return _in_turn(trainer.recurrent_step, [trainer.put_step(x) for x in steps])

    def _turns(self) -> list[Any]:
        """The batches that take turns, on the device; put there when the first phase asks for them."""
        if not self._on_device:
            self._on_device = [self.parts.trainer.put(x, y) for x, y in self.parts.batches(self._turn_count())]
        return self._on_device

    def _turn_count(self) -> int:
        return min(BATCHES_IN_TURN, len(self.parts.data.train.targets) // self.parts.batch_size)

    def _train(self, request: protocol.Train, tell: Tell) -> Trained:
        result: dict[str, Any] = {}
        ledger = self.ledger
        self.partial = partial(_trained, result)
        told = 0

        def on_epoch(entry: dict[str, Any]) -> None:
            nonlocal told
            losses = result["curve"]["step_loss"]
            tell(Epoch(entry, losses[told:]))
            told = len(losses)

        parts = self.parts
        settings = {**vars(request), "batch_size": parts.batch_size, "length": parts.length}
        VOICE.title = self.request.title
        keeper, checkpoint = self._kept(request)
        train = VOICE.beating()(train_task)  # only here the worker speaks: elsewhere its parent does
        train(
            parts.trainer,
            parts.data,
            settings,
            result,
            seed=parts.seed,
            ledger=ledger,
            on_epoch=on_epoch,
            hold_bytes=hold_limit(parts.device),
            keeper=keeper,
            checkpoint=checkpoint,
        )
        trained = _trained(result)
        assert trained is not None
        return trained

    def _kept(self, request: protocol.Train) -> tuple[Keeper | None, Checkpoint | None]:
        """Who keeps the training's checkpoints, and the one that it goes on from."""
        if request.checkpoints is None:
            return None, None
        place = Path(request.checkpoints)
        about = {**request.about, "network": self.parts.network}
        found = None
        if request.go_on:
            found, warnings = checkpoints.newest(place)
            for warning in warnings:
                VOICE.say(f"left out: {warning}")
        return Keeper(place, request.checkpoint_seconds, request.keep, about), found

    def _be_alone(self) -> None:
        """One framework a process: the packages of the others must not have come in by a side door."""
        loaded = sorted(name for name in self.request.strangers if name in sys.modules)
        if loaded:
            raise RuntimeError(f"{', '.join(loaded)} was imported beside {self.request.framework}")


class _Phase:
    """The calls of one phase and what is known of their results; seconds come from the stopwatch."""

    def __init__(self, trainer: Trainer, name: str, calls: stopwatch.Calls, watch: Watch) -> None:
        self.trainer, self.name, self.calls, self.watch = trainer, name, calls, watch

    def first_call(self, ahead: Callable[[], Any]) -> float:
        return stopwatch.first_call(self.trainer, self.calls, self.watch.keep, ahead)

    def warm_up(self, calls: int) -> None:
        stopwatch.warm_up(self.trainer, self.calls, self.watch.keep, calls)
        self.watch.look()

    def single_calls(self, calls: int, seconds: float) -> list[float]:
        with self._named():
            samples = stopwatch.single_calls(self.trainer, self.calls, self.watch.keep, calls, seconds)
        self.watch.look()
        return samples

    def calls_in_a_row(self, calls: int) -> float:
        with self._named():
            seconds = stopwatch.calls_in_a_row(self.trainer, self.calls, self.watch.keep, calls)
        self.watch.look()
        return seconds

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except Recompiled as error:
            raise Recompiled(f"{self.name}: {said(error)}") from error


def _trained(result: dict[str, Any]) -> Trained | None:
    """What train_task has filled so far; None before it has begun."""
    if "curve" not in result:
        return None
    sections = {name: result[name] for name in ("curve", "accuracy", "loss", "ledger")}
    return Trained(**sections, first_calls=result["timing"]["first_call_seconds"], notes=result["notes"])


def _nothing() -> None:
    """What a request has found before it has begun, and what phases but the train step do before their first call."""


def _in_turn(call: Callable[[Any], Handle], arguments: list[Any]) -> stopwatch.Calls:
    while True:
        for argument in arguments:
            yield partial(call, argument)
