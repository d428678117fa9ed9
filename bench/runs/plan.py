"""What a run says before it begins, in a log: where it runs, how large the network is, how much there is to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plan(record: Mapping[str, Any], work: str) -> str:
    """'begins on AMD EPYC, 2 threads, fp32: 12,345 parameters, batch 32 ...'. work: how much there is to do."""
    task, machine = record["config"]["task"], record["machine"]
    gpu = machine["gpu"] or {}
    where = gpu.get("name") or machine["cpu"] or record["device"]
    parts = [
        f"begins on {record['device']} ({where}), {record['threads']} threads, {record['precision']}",
        f"{record['parameters']['count']:,} parameters",
        f"batch {task['batch_size']}",
        work,
    ]
    return ", ".join(parts)
