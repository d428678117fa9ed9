"""Do the sides of a comparison compute the same thing? By the run's certificate, or by traces of the sides themselves.

Sides with one request to one code do by construction; with other batches, other data or another precision they do not.
Two frameworks with all else equal have a certificate. Any other two are traced here, at dropout 0 and with the few
sequences of a certificate, and compared within the bounds of their precision. What differs is said in the verdict's
line; it is no failure, as one may want to know what another model costs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.measure import agreement
from bench.store import certificate, kinds
from bench.tasks.context import Context
from bench.tasks.side import Ready
from bench.workers.protocol import Build, Finish, Trace
from bench.workers.remote import RunEnded
from settings.progress import VOICE
from settings.reasons import said

SECTION = {"side": kinds.name, "same": kinds.flag, "error": kinds.amount, "bound": kinds.bound, "says": kinds.text}
BATCH_SIZE, STEPS = 4, 10  # of a trace, as in conf/task/parity.yaml
OF_THE_WORK = {"precision": "precision", "batch_size": "batches of", "length": "length"}  # what makes it another work


def found(context: Context) -> list[dict[str, Any]]:
    """An entry for each side but the first: same is true, false, or null where it could not be compared."""
    first, *others = context.sides
    result = {one.label: entry for one in others if (entry := _by_construction(first, one)) is not None}
    left = [one for one in others if one.label not in result]
    if context.config["certificate"] == "skip":
        return [*result.values(), *(_entry(one, None, "not checked (certificate=skip)") for one in left)]
    if any(_is_partner(first, one) for one in left):
        context.certify()
    for one in left:
        if _is_partner(first, one):
            result[one.label] = _certified(context, one)
    left = [one for one in left if one.label not in result]
    return [*result.values(), *_traced(context, first, left)]


def _entry(side: Ready, same: bool | None, says: str, error: float | None = None, bound: float | None = None) -> Any:
    return {"side": side.label, "same": same, "error": error, "bound": bound, "says": says}


def _by_construction(first: Ready, one: Ready) -> dict[str, Any] | None:
    if one.command is not None and one.code is None:
        return _entry(one, None, "a program of its own, which was not traced")
    if one.code == first.code and one.build == first.build:
        return _entry(one, True, "the same settings and code")
    other = [
        f"{title} {getattr(one.build, name)} instead of {getattr(first.build, name)}"
        for name, title in OF_THE_WORK.items()
        if getattr(one.build, name) != getattr(first.build, name)
    ]
    if one.build.dataset != first.build.dataset:
        other.append("other data")
    return _entry(one, False, ", ".join(other)) if other else None


def _is_partner(first: Ready, one: Ready) -> bool:
    """Whether a certificate of the run's settings is about these two."""
    own = replace(first.build, framework=one.build.framework, compile=one.build.compile, threads=one.build.threads)
    return one.code is None and one.build == own and one.build.framework != first.build.framework


def _certified(context: Context, one: Ready) -> dict[str, Any]:
    made = context.record["certificate"]
    if made is None:
        return _entry(one, None, "no certificate could be made")
    says = f"certificate {'passed' if made['passed'] else 'not passed'}"
    return _entry(one, made["passed"], says, made["error"], made["bound"])


def _traced(context: Context, first: Ready, others: Sequence[Ready]) -> Iterator[dict[str, Any]]:
    if not others:
        return
    with tempfile.TemporaryDirectory(prefix="ssm-bench-") as folder:
        own = Path(folder) / "first.npz"
        _trace(context, first, own)
        for number, one in enumerate(others):
            path = Path(folder) / f"{number}.npz"
            try:
                _trace(context, one, path)
            except RunEnded as error:
                yield _entry(one, None, f"its trace ended early: {said(error)}")
            else:
                yield _compared(first, one, own, path)


def _trace(context: Context, side: Ready, path: Path) -> None:
    optimiser = replace(side.build.optimiser, accumulate=1)  # so few sequences have no such number of parts
    model = {**side.build.model, "dropout": 0.0}
    build: Build = replace(side.build, batch_size=BATCH_SIZE, model=model, optimiser=optimiser)
    worker = context.start(build, command=side.command)
    with VOICE.during(f"tracing what {side.label} computes"):
        context.begin(worker)
        worker.ask(Trace(str(path), STEPS))
        worker.ask(Finish())
    context.dismiss([worker])


def _compared(first: Ready, one: Ready, own: Path, path: Path) -> dict[str, Any]:
    try:
        errors = agreement.compare(own, path, first.build.precision)
    except ValueError:
        return _entry(one, False, "another network: its parameters or outputs have other names or shapes")
    worst = max(errors.values(), key=lambda entry: entry["error"] / entry["bound"])
    same = agreement.passed(errors)
    says = "traces agree" if same else certificate.differences({"errors": errors})
    return _entry(one, same, says, _finite(worst["error"]), worst["bound"])


def _finite(error: float) -> float | None:
    return error if error < float("inf") else None
