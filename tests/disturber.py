"""Disturbs: for a random while it computes on one core, for a random while it sleeps, until it is stopped.

    python tests/disturber.py [share of the time, .3]

Beside experiment=verdicts, whose words have to hold on a machine that is not quiet.
"""

from __future__ import annotations

import random
import sys
import time


def main(share: float) -> None:
    while True:
        busy = random.expovariate(1 / 3)  # seconds, 3 on average
        end = time.perf_counter() + busy
        while time.perf_counter() < end:
            sum(range(10_000))
        time.sleep(random.expovariate(share / (3 * (1 - share))))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.3)
