"""What the system did beside a round: read before and after it, never inside, so that the clock does not see it.

Page faults and involuntary switches of this process; time that the hypervisor took from its cores; time that other
processes ran on them. Linux says all four; elsewhere what is not known is None.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import resource

STAT = Path("/proc/stat")
STEAL = 7  # of the numbers behind a core's name: user nice system idle iowait irq softirq steal
WAITING = (3, 4)  # idle, iowait


@dataclass(frozen=True)
class Counts:
    """Now; all of them rise. busy_seconds: of this process's cores, by anyone; own_seconds: by this process."""

    faults: int
    switches: int
    own_seconds: float
    busy_seconds: float | None
    stolen_seconds: float | None


@dataclass(frozen=True)
class Beside:
    """What happened between two Counts. others_seconds: of processor time, on the cores that this process may use."""

    faults: int
    switches: int
    others_seconds: float | None
    stolen_seconds: float | None


def counts() -> Counts:
    """As of now. About 50 us."""
    busy, stolen = _cores()
    if sys.platform == "win32":
        return Counts(0, 0, time.process_time(), busy, stolen)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Counts(usage.ru_minflt + usage.ru_majflt, usage.ru_nivcsw, time.process_time(), busy, stolen)


def between(before: Counts, after: Counts) -> Beside:
    """The kernel counts cores in hundredths of a second: what others took is known to about one of them a core."""
    others = stolen = None
    if before.busy_seconds is not None and after.busy_seconds is not None:
        busy = after.busy_seconds - before.busy_seconds
        others = max(0.0, busy - (after.own_seconds - before.own_seconds))
    if before.stolen_seconds is not None and after.stolen_seconds is not None:
        stolen = max(0.0, after.stolen_seconds - before.stolen_seconds)
    return Beside(after.faults - before.faults, after.switches - before.switches, others, stolen)


def _cores() -> tuple[float | None, float | None]:
    """Seconds that this process's cores were busy, and that were stolen from them, since the system started."""
    if sys.platform != "linux":
        return None, None
    try:
        lines = STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return None, None
    own = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    busy = stolen = 0
    for line in lines:
        name, *numbers = line.split()
        if name in own:
            ticks = [int(number) for number in numbers[: STEAL + 1]]
            busy += sum(ticks[:STEAL]) - sum(ticks[place] for place in WAITING)
            stolen += ticks[STEAL] if len(ticks) > STEAL else 0
    each = os.sysconf("SC_CLK_TCK")
    return busy / each, stolen / each
