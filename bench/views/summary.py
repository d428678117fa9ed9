"""What a run prints when it ends: a few lines from its record, and one line a job after a sweep."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from bench.measure.statistics import is_wide, summary
from bench.store.outcome import Outcome
from bench.tasks import registry as tasks
from bench.tasks.task import Measure
from settings.progress import WIDTH, wrapped


def of_run(outcome: Outcome) -> str:
    """Headline, figures that were measured, and where the record lies."""
    lines = [headline(outcome)]
    if outcome.record is not None:
        lines += [wrapped(f"  {name:<16} {text}", " " * 17) for name, text in _figures(outcome.record)]
    if outcome.path is not None:
        line = f"  {'record':<16} {outcome.path}"
        lines.append(line if len(line) <= WIDTH else f"  record\n    {outcome.path}")
    if outcome.record is not None and (sentence := tasks.sentence(outcome.record)):
        lines.append(wrapped(sentence))
    return "\n".join(lines)


def of_sweep(outcomes: Sequence[Outcome]) -> str:
    """One line a job: status, label, the record's path or the reason."""
    width = max(len(outcome.label) for outcome in outcomes)
    lines = [f"{'status':<14} {'run':<{width}}  record or reason"]
    for outcome in outcomes:
        refused = outcome.path is None or outcome.status == "refused"
        where = str(outcome.message) if refused else str(outcome.path)
        line = f"{outcome.status:<14} {outcome.label:<{width}}  {where}"
        if len(line) > WIDTH or "\n" in line:  # a path stays whole on a line of its own, to be copied
            below = f"    {where}" if not refused else wrapped(textwrap.indent(where, "    "), "")
            line = f"{outcome.status:<14} {outcome.label}\n{below}"
        lines.append(line)
    return "\n".join(lines)


def headline(outcome: Outcome) -> str:
    """'s4 torch digits train: ok', with the reason where it is another status."""
    reason = "" if outcome.message is None else f": {outcome.message}"
    return wrapped(f"{outcome.label}: {outcome.status}{reason}")


def _figures(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    figures = [
        (measure.title, _figure(samples, measure))
        for measure in tasks.measures(record["task"])
        if measure.form is not None and (samples := measure.samples(record))
    ]
    if record["algorithm"]:
        figures.append(("algorithm", record["algorithm"]))
    data = record["data"] or {}
    if data.get("protocol") not in (None, "default"):
        chosen = ": the best epoch is chosen on the test part" if data.get("selects_on_test") else ""
        figures.append(("protocol", f"{data['protocol']}{chosen}"))
    if data.get("generated"):
        figures.append(("data", "generated here, in the style of the published data"))
    figures.append(("certificate", _certificate(record["certificate"])))
    return figures


def _figure(samples: Sequence[float], measure: Measure) -> str:
    """'12.3 ms (interquartile range 0.2 ms)', of one sample without the range."""
    spread = summary([measure.scale * sample for sample in samples])
    unit = f" {measure.unit}" if measure.unit else ""
    value = f"{spread['median']:{measure.form}}{unit}"
    if len(samples) == 1:
        return value
    wide = ": above a quarter of it" if is_wide(spread["median"], spread["iqr"]) else ""
    return f"{value} (interquartile range {spread['iqr']:.2g}{unit}{wide})"


def _certificate(certificate: Mapping[str, Any] | None) -> str:
    if certificate is None:
        return "none"
    agrees = "passed" if certificate["passed"] else "NOT passed"
    error = "not finite" if certificate["error"] is None else f"{certificate['error']:.1e}"
    return f"{agrees}, {certificate['precision']}, error {error} (bound {certificate['bound']:.0e})"
