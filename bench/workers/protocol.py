"""What a parent and its worker say to each other: frozen dataclasses, one JSON object a line.

The parent sends requests, each with a number, and need not wait for an answer before it sends the next: the worker
serves them one after the other, and answers in their order. While it serves one it may send notices. A worker's first
line is its Greeting, whose version tells whether the two speak the same protocol: they may come from two trees. Not
here: how lines travel (bench/workers/children.py), and what a worker does (bench/workers/station.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.framework import Group, OptimiserSpec
from bench.measure.counters import Beside

PROTOCOL = 2  # raise it with every change of a message that the other side would misread


class Refused(Exception):
    """A request that cannot be done, and that has changed nothing; raised on both sides."""


# Requests: the parent to its worker.


@dataclass(frozen=True)
class Build:
    """Load the framework and the data, build the network and its optimiser -> Built. First of all requests.

    length: None is the data's own. strangers: modules of other frameworks, which must not be loaded beside this one.
    title: what lines of progress begin with. record: what the worker completes and writes into results_dir where its
    parent is gone; None: it leaves nothing.
    """

    framework: str
    compile: str
    precision: str
    device: str  # "cpu" or "gpu"
    threads: int
    seed: int
    model: Mapping[str, Any]  # conf/model
    dataset: Mapping[str, Any]  # conf/dataset
    data_dir: str
    batch_size: int
    length: int | None
    optimiser: OptimiserSpec
    strangers: Sequence[str] = ()
    record: Mapping[str, Any] | None = None
    results_dir: str = ""
    title: str = ""
    debug: bool = False


@dataclass(frozen=True)
class FirstCall:
    """Compile a phase and call it once -> Timed, one sample. Refused where the model has no such form.

    phase: "train_step", "forward" or "recurrent_step". After that of the train step the steady peak of memory begins.
    """

    phase: str


@dataclass(frozen=True)
class WarmUp:
    """Call a phase so many times, outside all clocks -> Done."""

    phase: str
    calls: int


@dataclass(frozen=True)
class Singles:
    """Calls that are waited for one by one -> Timed, a sample each; no more (but two) once `seconds` are over."""

    phase: str
    calls: int
    seconds: float


@dataclass(frozen=True)
class Round:
    """Calls back to back, with one wait at the end -> Timed, one sample: the seconds of them all."""

    phase: str
    calls: int


@dataclass(frozen=True)
class Keep:
    """Remember all that steps change, for the turns to come -> Done."""


@dataclass(frozen=True)
class Turn:
    """Back to what was kept, `warm` calls that are waited for, then a round of `calls`, back to back -> Turned.

    more: calls beyond those, which no one is told of: so much more work, for trials of what can be found.
    """

    phase: str
    warm: int
    calls: int
    more: int = 0


@dataclass(frozen=True)
class Memory:
    """The record's memory section, as of now -> MemoryNow."""


@dataclass(frozen=True)
class Train:
    """Train until the end, then test the best weights once -> Trained; a notice each: Epoch.

    steps: of the optimiser in all; None: `epochs` whole epochs. patience: epochs without a better validation; None: no
    early stop. schedule: task.schedule. checkpoints: the folder of this run's; None: there are none.
    checkpoint_seconds: between two. keep: how many stay. go_on: from the newest one there. about: what they say beside.
    limit_seconds: after which it stops, with a checkpoint. stop_at_chance: it ends where nothing is learnt.
    """

    epochs: int
    steps: int | None = None
    patience: int | None = None
    schedule: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: str | None = None
    checkpoint_seconds: float = 0.0
    keep: int = 1
    go_on: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)
    limit_seconds: float | None = None
    stop_at_chance: bool = False


@dataclass(frozen=True)
class Trace:
    """What the network computes, before and after `steps` optimiser steps, into an .npz -> Done."""

    path: str
    steps: int


@dataclass(frozen=True)
class StateOut:
    """Parameters and batch norm's statistics into an .npz, by name -> Done."""

    path: str


@dataclass(frozen=True)
class StateIn:
    """Puts back what StateOut wrote, here or in another framework -> Done. Refused where names differ."""

    path: str


@dataclass(frozen=True)
class Finish:
    """All is measured -> Done, where no other framework has come in meanwhile."""


@dataclass(frozen=True)
class Leave:
    """The record is written: the worker ends. It has no answer."""


# What answers and notices carry: the worker to its parent. An error carries as much of it as there is.


@dataclass(frozen=True)
class Done:
    """There is nothing to say."""


@dataclass(frozen=True)
class Built:
    """What was found while building. operations: of one step of one batch. documents: of one example."""

    ledger: Mapping[str, float] = field(default_factory=dict)
    device: str | None = None
    gpu: Mapping[str, Any] | None = None
    versions: Mapping[str, str] | None = None
    algorithm: str | None = None
    parameters: Mapping[str, int] | None = None
    operations: Mapping[str, float] | None = None
    batch_size: int = 0
    length: int = 0
    documents: int = 1


@dataclass(frozen=True)
class Timed:
    """Seconds."""

    samples: Sequence[float]


@dataclass(frozen=True)
class Turned:
    """A turn. seconds: of the round. beside: what the system did meanwhile. waiting_seconds, waited_seconds: processor
    time that this process took between its last turn and this one, and how long that was; None at its first.
    """

    seconds: float
    beside: Beside
    waiting_seconds: float | None = None
    waited_seconds: float | None = None


@dataclass(frozen=True)
class MemoryNow:
    """The record's memory section."""

    section: Mapping[str, Any]


@dataclass(frozen=True)
class Epoch:
    """A notice: an epoch is over. entry: of the curve; step_losses: of its steps."""

    entry: Mapping[str, Any]
    step_losses: Sequence[float]


@dataclass(frozen=True)
class Trained:
    """The training's sections of the record, as far as they go. ledger: with what building had put into it."""

    curve: Mapping[str, Any]
    accuracy: Mapping[str, float | None]
    loss: Mapping[str, float | None]
    ledger: Mapping[str, float]
    first_calls: Mapping[str, float]
    notes: Sequence[str] = ()


# The lines themselves.


@dataclass(frozen=True)
class Greeting:
    """A worker's first line."""

    protocol: int
    tree: str  # the folder it runs from


@dataclass(frozen=True)
class Request:
    """number: counts up from 1."""

    number: int
    body: Any


@dataclass(frozen=True)
class Notice:
    """number: of the request that is being served."""

    number: int
    body: Any


@dataclass(frozen=True)
class Result:
    """The answer to a request that was served."""

    number: int
    body: Any


@dataclass(frozen=True)
class Error:
    """The answer to one that was not.

    kind: a record's status (failed, out_of_memory, diverged, interrupted), or refused: nothing was done, and the worker
    is as it was. partial: what a Result would carry, as far as it was measured.
    """

    number: int
    kind: str
    message: str
    traceback: str | None = None
    partial: Any = None


MESSAGES = {
    cls.__name__: cls
    for cls in (
        *(Build, FirstCall, WarmUp, Singles, Round, Keep, Turn, Memory, Train, Trace, StateOut, StateIn, Finish, Leave),
        *(Done, Built, Timed, Turned, MemoryNow, Epoch, Trained),
        *(Greeting, Request, Notice, Result, Error, OptimiserSpec, Group, Beside),
    )
}
