"""What a conversation costs: seconds of a round as its parent sees it, less those on the worker's clock.

    python tests/worker_cost.py [torch|jax|numpy] [rounds]

Rounds are of 20 steps, as task=time has them. The least of many differences is the conversation alone; the median holds
what else the machine does, the collection of garbage before each round included.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from commands import NUMPY_WORKER, WORKER, composed

from bench.framework import OptimiserSpec
from bench.workers.environment import environment
from bench.workers.protocol import Build, Finish, FirstCall, Round, WarmUp
from bench.workers.remote import Crew

STEPS = 20


def main(framework: str = "numpy", rounds: str = "30") -> None:
    config = composed(f"framework={'torch' if framework == 'numpy' else framework}")
    build = Build(
        framework=config["framework"]["name"],
        compile="none" if framework == "torch" else "default",
        precision="fp32",
        device="cpu",
        threads=1,
        seed=0,
        model=config["model"],
        dataset=config["dataset"],
        data_dir=config["data_dir"],
        batch_size=16,
        length=None,
        optimiser=OptimiserSpec(),
    )
    crew = Crew()
    command = [*NUMPY_WORKER, "Twenty"] if framework == "numpy" else WORKER
    worker = crew.start(command, environment(1, "cpu", "fp32", os.environ))
    worker.ask(build)
    worker.ask(FirstCall("train_step"))
    worker.ask(WarmUp("train_step", 5))
    costs, steps = [], []
    for _ in range(int(rounds)):
        begin = time.perf_counter()
        (seconds,) = worker.ask(Round("train_step", STEPS)).samples
        costs.append(time.perf_counter() - begin - seconds)
        steps.append(seconds / STEPS)
    worker.ask(Finish())
    crew.leave()
    step, median = statistics.median(steps), statistics.median(costs)
    print(f"{framework}: a step {1e3 * step:.2f} ms; a round's cost: least {1e3 * min(costs):.2f} ms,", end=" ")
    print(f"median {1e3 * median:.2f} ms, {median / (STEPS * 0.02):.2%} of one of 20 ms steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
