"""What a run says before it begins, in a log: where it runs, how large the network is, how much there is to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plan(record: Mapping[str, Any], sequences: int) -> str:
    """'begins on AMD EPYC, 2 threads, fp32: 12,345 parameters, batch 32 ...'. sequences: of the training part."""
    task, machine = record["config"]["task"], record["machine"]
    gpu = machine["gpu"] or {}
    where = gpu.get("name") or machine["cpu"] or record["device"]
    parts = [
        f"begins on {record['device']} ({where}), {record['threads']} threads, {record['precision']}",
        f"{record['parameters']['count']:,} parameters",
        f"batch {task['batch_size']}",
        _work(task, sequences),
    ]
    return ", ".join(parts)


def _work(task: Mapping[str, Any], sequences: int) -> str:
    if task["name"] == "time":
        phases = ", ".join(task["phases"])
        return f"{task['rounds']} rounds of each of {phases} in about {task['budget_seconds']:g} s"
    if task["name"] == "parity":
        return f"{task['steps']} steps, compared with the other framework's"
    each = sequences // task["batch_size"]
    if task["steps"] is not None:
        return f"{task['steps']:,} steps of {each:,} an epoch"
    return f"{task['epochs']:,} epochs x {each:,} steps"
