"""What a worker has measured so far, and the record's sections made of it: the same on either side of the pipe.

The parent adds each answer it receives, the worker each that it gives; so the record is whole also where one of them is
gone. Adding is all that changes here: sections() is a pure function of what was added.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.measure.statistics import summary
from bench.store.schema import PHASES
from bench.workers.protocol import (
    Build,
    Built,
    Epoch,
    FirstCall,
    Memory,
    MemoryNow,
    Round,
    Singles,
    Timed,
    Train,
    Trained,
)

TRAIN_STEP = "train_step"


@dataclass
class Observations:
    """Filled by add(), in the order of the requests."""

    built: Built | None = None
    timing: bool = False  # whether a phase was asked for
    ended: set[str] = field(default_factory=set)  # phases whose rounds are all there
    first_calls: dict[str, float] = field(default_factory=dict)
    singles: dict[str, list[float]] = field(default_factory=dict)
    rounds: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # phase -> (calls, seconds of them all)
    memory: Mapping[str, Any] | None = None
    trained: Trained | None = None

    def begin(self, request: Any) -> None:
        """A request is about to be served."""
        if not isinstance(request, Round):
            self.ended |= self.rounds.keys()
        if isinstance(request, FirstCall):
            self.timing = True
        elif isinstance(request, Train):
            ledger = dict(self.built.ledger) if self.built is not None else {}
            accuracy, loss = dict.fromkeys(("validation", "test")), dict.fromkeys(("train", "validation", "test"))
            self.trained = Trained({"step_loss": [], "epochs": []}, accuracy, loss, ledger, {})

    def add(self, request: Any, body: Any) -> None:
        """An answer's body, or a notice's, or what an error carries."""
        match request, body:
            case Build(), Built():
                self.built = body
            case FirstCall(), Timed():
                self.first_calls[request.phase] = sum(body.samples)
            case Singles(), Timed():
                self.singles.setdefault(request.phase, []).extend(body.samples)
            case Round(), Timed():
                self.rounds.setdefault(request.phase, []).append((request.calls, sum(body.samples)))
            case Memory(), MemoryNow():
                self.memory = body.section
            case Train(), Trained():
                self.trained = body
            case Train(), Epoch():
                assert self.trained is not None
                self.trained.curve["step_loss"].extend(body.step_losses)
                self.trained.curve["epochs"].append(body.entry)


def sections(seen: Observations, earlier: Sequence[Observations] = ()) -> dict[str, Any]:
    """The record's sections that `seen` has something for. earlier: processes of the same run, timed before it: their
    samples come first, and the peak of memory is that of the process in the middle.
    """
    found: dict[str, Any] = {}
    processes = [*earlier, seen]
    built = _built(processes)
    if built is not None:
        found |= {"ledger": dict(built.ledger)}
        found |= {name: value for name in ("algorithm", "parameters") if (value := getattr(built, name)) is not None}
    if any(one.timing for one in processes):
        found |= {"timing": _timing(processes), "throughput": _throughput(processes)}
        found["operations"] = None if built is None else built.operations
    if seen.trained is not None:
        trained = seen.trained
        found |= {name: getattr(trained, name) for name in ("curve", "accuracy", "loss", "ledger")}
        found["timing"] = {**_empty_timing(), "first_call_seconds": trained.first_calls}
    memories = [one.memory for one in processes if one.memory is not None]
    if memories:
        found["memory"] = sorted(memories, key=lambda one: one["peak_bytes"])[(len(memories) - 1) // 2]
    return found


def _built(processes: Sequence[Observations]) -> Built | None:
    """What the first process found while it was built."""
    return next((one.built for one in processes if one.built is not None), None)


def completed(record: Mapping[str, Any], seen: Observations, earlier: Sequence[Observations] = ()) -> dict[str, Any]:
    """`record` with what was measured laid into it; the record itself stays as it is."""
    result = {**record, **sections(seen, earlier)}
    built = _built([*earlier, seen]) or Built()
    if built.device is not None:
        result["device"] = built.device
    if built.gpu is not None:
        result["machine"] = {**(record["machine"] or {}), "gpu": built.gpu}
    if built.versions is not None:
        # The packages' installed versions, as the parent looks them up, come first: resume compares them.
        result["versions"] = {**built.versions, **(record["versions"] or {})}
    if seen.trained is not None:
        result["notes"] = [*record["notes"], *seen.trained.notes]
    return result


def seconds_per_step(seen: Observations, phase: str) -> list[float]:
    """A sample for each round: its seconds over its calls."""
    return [seconds / calls for calls, seconds in seen.rounds.get(phase, [])]


def _timing(processes: Sequence[Observations]) -> dict[str, Any]:
    firsts = [one.first_calls for one in processes]
    names = dict.fromkeys(itertools.chain.from_iterable(firsts))
    timing = {
        **_empty_timing(),
        "first_call_seconds": {name: statistics.median(one[name] for one in firsts if name in one) for name in names},
    }
    for phase in dict.fromkeys(itertools.chain.from_iterable(one.rounds for one in processes)):
        by_process = [found for one in processes if (found := seconds_per_step(one, phase))]
        singles = list(itertools.chain.from_iterable(one.singles.get(phase, []) for one in processes))
        timing[f"{phase}_seconds"] = {
            **summary(list(itertools.chain.from_iterable(by_process))),
            "by_process": by_process,
            "single": summary(singles) if singles else None,
            "steps_per_round": next(one.rounds[phase][-1][0] for one in processes if phase in one.rounds),
        }
    done = [phase for phase in names if timing.get(f"{phase}_seconds") is not None]
    if done:
        phase = TRAIN_STEP if TRAIN_STEP in done else done[0]
        # What the first call took beyond a usual one: tracing, compiling and first allocations.
        usual = timing[f"{phase}_seconds"]["median"]
        compiling = [max(0.0, one[phase] - usual) for one in firsts if phase in one]
        timing["compile_seconds"] = summary(compiling)
    return timing


def _throughput(processes: Sequence[Observations]) -> dict[str, float] | None:
    ended = [one for one in processes if TRAIN_STEP in one.ended]
    if not ended:
        return None
    built = ended[0].built
    assert built is not None
    samples = list(itertools.chain.from_iterable(seconds_per_step(one, TRAIN_STEP) for one in ended))
    per_second = built.batch_size / summary(samples)["median"]
    return {
        "samples_per_second": per_second,
        "tokens_per_second": per_second * built.documents * built.length,
    }


def _empty_timing() -> dict[str, Any]:
    timing: dict[str, Any] = {f"{phase}_seconds": None for phase in PHASES}
    return timing | {"compile_seconds": None, "first_call_seconds": {}}
