"""How the fields of a record, and of a certificate, depend on each other; each field itself has passed its own check.

Pure functions: what is wrong, as sentences that name the field. They do not judge whether a figure is plausible.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from bench.measure.statistics import summary
from bench.store.kinds import is_whole

GROUPS = ("model", "framework", "dataset", "task")
JUDGED = ("outputs", "logits", "loss", "gradients")  # whose largest error a certificate shows as its own
_CLOSE = 1e-9  # of what is computed again from the same numbers


def of_record(record: Mapping[str, Any]) -> list[str]:
    """Everything in which a record contradicts itself."""
    return [
        *_ending(record),
        *_copies(record),
        *(problem for path, spread in _spreads(record["timing"] or {}) for problem in _spread(path, spread)),
        *_processes(record["timing"] or {}),
        *_memory(record["memory"] or {}),
        *_curve(record["curve"] or {}),
        *_state(record["code"] or {}),
        *_covered(record["certificate"]),
    ]


def of_certificate(certificate: Mapping[str, Any]) -> list[str]:
    """Everything in which a certificate contradicts itself: what passed, and the largest error."""
    errors = {name: entry or {} for name, entry in (certificate["errors"] or {}).items()}
    held = bool(errors) and all(_holds(entry.get("error"), entry.get("bound")) for entry in errors.values())
    problems = []
    if certificate["passed"] != held:
        found = "every error is within its bound" if held else "not every error is within its bound"
        problems.append(f"passed: {certificate['passed']}, but {found}")
    judged = [errors.get(name, {}).get("error") for name in JUDGED]
    known = [error for error in judged if error is not None]
    largest = max(known) if len(known) == len(judged) else None
    own = certificate["error"]
    if (own is None) != (largest is None) or (largest is not None and not _is_close(own, largest, largest)):
        problems.append(f"error: {own}, but the largest of {', '.join(JUDGED)} is {largest}")
    return problems


def _holds(error: float | None, bound: float | None) -> bool:
    return error is not None and bound is not None and error <= bound


def _is_close(a: float, b: float, scale: float) -> bool:
    return math.isclose(a, b, rel_tol=0.0, abs_tol=_CLOSE * scale)


def _ending(record: Mapping[str, Any]) -> Iterator[str]:
    status, message = record["status"], record["message"]
    if (status == "ok") != (message is None):
        yield f"message: {message!r} with status {status!r}; ok has none, every other status has one"


def _copies(record: Mapping[str, Any]) -> Iterator[str]:
    """What a record copies from its configuration, and what tables read of that.

    A refused configuration may hold anything; the record then copies what is right, and has null for the rest.
    """
    config, refused = record["config"], record["status"] == "refused"
    for group in GROUPS:
        section = config.get(group)
        own = section.get("name") if isinstance(section, Mapping) else section
        if refused and record[group] is None:
            continue
        if not isinstance(section, Mapping) or own != record[group]:
            yield f"{group}: {record[group]!r}, but config.{group} is {_short(own)}"
    for name in ("precision", "seed"):
        if config.get(name) != record[name] and not (refused and record[name] is None):
            yield f"{name}: {record[name]!r}, but config.{name} is {_short(config.get(name))}"
    if refused:
        return
    task = config.get("task")
    for name in ("batch_size", "length") if isinstance(task, Mapping) else ():
        if task.get(name) is not None and not is_whole(task[name], 1):
            yield f"config.task.{name}: a whole number of 1 or more was expected, not {_short(task[name])}"
    framework = config.get("framework")
    mode = framework.get("compile") if isinstance(framework, Mapping) else None
    if mode is not None and not isinstance(mode, str):
        yield f"config.framework.compile: a string was expected, not {_short(mode)}"


def _short(value: Any) -> str:
    return repr(value)[:100]


def _spreads(timing: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, section in timing.items():
        if isinstance(section, Mapping) and "samples" in section:
            yield f"timing.{name}", section
            if section.get("single") is not None:
                yield f"timing.{name}.single", section["single"]


def _spread(path: str, spread: Mapping[str, Any]) -> Iterator[str]:
    """Median and interquartile range are those of the samples: computed again, as bench/measure/statistics.py does."""
    samples = spread["samples"]
    if not samples:
        for name in ("median", "iqr"):
            if spread[name] is not None:
                yield f"{path}.{name}: {spread[name]}, but no samples are there"
        return
    found = summary(samples)
    for name in ("median", "iqr"):
        if spread[name] is None or not _is_close(spread[name], found[name], max(samples)):
            yield f"{path}.{name}: {spread[name]}, but that of the samples is {found[name]}"


def _processes(timing: Mapping[str, Any]) -> Iterator[str]:
    """A step's samples are those of its processes, one after the other."""
    for name, section in timing.items():
        own = section.get("by_process") if isinstance(section, Mapping) else None
        if own is not None and list(itertools.chain.from_iterable(own)) != list(section["samples"] or []):
            yield f"timing.{name}.by_process: its samples are not those of samples"


def _memory(memory: Mapping[str, Any]) -> Iterator[str]:
    peak, steady = memory.get("peak_bytes"), memory.get("steady_peak_bytes")
    if peak is not None and steady is not None and steady > peak:
        yield f"memory.steady_peak_bytes: {steady}, above the peak of the whole run, {peak}"


def _curve(curve: Mapping[str, Any]) -> Iterator[str]:
    epochs = curve.get("epochs") or []
    for name in ("epoch", "step"):
        values = [entry[name] for entry in epochs if entry[name] is not None]
        if any(later <= earlier for earlier, later in itertools.pairwise(values)):
            yield f"curve.epochs: {name} does not rise from entry to entry: {values[:20]}"
        if name == "step" and values and max(values) > len(curve["step_loss"] or []):
            yield f"curve.epochs: step {max(values)}, but step_loss has {len(curve['step_loss'] or [])} steps"


def _state(code: Mapping[str, Any]) -> Iterator[str]:
    if code.get("commit") is None and code.get("dirty") is not None:
        yield f"code.dirty: {code['dirty']} without a commit that the code could differ from"


def _covered(certificate: Mapping[str, Any] | None) -> Iterator[str]:
    if certificate and certificate["passed"] and not _holds(certificate["error"], certificate["bound"]):
        yield f"certificate.passed: true, but its error is {certificate['error']} and its bound {certificate['bound']}"
