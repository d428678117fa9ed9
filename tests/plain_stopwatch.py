"""A stopwatch of its own, to hold the bench's against: a plain script that imports a framework and the model, no more.

    python run.py task=compare model=s5 framework=jax "task.b=['worker=tests/plain_stopwatch.py']"

It takes part in the waves as a side, so it speaks the lines that a worker speaks; clock, batches, loop and memory are
its own. Random numbers stand in for the data, which has 10 classes and one real channel; the network is not put back
before a round, as the learning rate is so small that nothing changes. Its memory is that of the whole process, as the
kernel tells `/usr/bin/time -v`: peak_bytes and baseline_bytes add up to it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PROTOCOL = 2
CHANNELS, CLASSES = 1, 10
RATES = SimpleNamespace(
    of=lambda name, ssm: (1e-6, 0.0 if ssm else 0.01), beta1=0.9, beta2=0.999, eps=1e-8, clip_norm=None
)
Step = Any  # makes one train step; called without an argument


def torch_steps(build: dict[str, Any], settings: dict[str, Any], length: int) -> tuple[Step, Any]:
    import torch

    from models_torch import functional
    from models_torch.network import SequenceModel
    from ssm.network import initial, network_options, ssm_parameter_names

    torch.set_num_threads(build["threads"])
    torch.set_float32_matmul_precision("highest")
    options = network_options(build["model"]["name"], CHANNELS, CLASSES, length, settings)
    model = SequenceModel(options, initial(options, 0), torch.float32)
    ssm, named = ssm_parameter_names(options), dict(model.named_parameters())
    rates = {"lr": 1e-6, "betas": (0.9, 0.999), "eps": 1e-8, "fused": True}
    groups = [
        {"params": [value for name, value in named.items() if (name in ssm) == own], "weight_decay": decay}
        for own, decay in ((False, 0.01), (True, 0.0))
    ]
    optimiser = torch.optim.AdamW(groups, **rates)
    batch = torch.randn(build["batch_size"], length, CHANNELS), torch.randint(CLASSES, (build["batch_size"],))
    model.train()
    return partial(functional.train, model, optimiser, named, None, batch, torch.float32), lambda last: last.tolist()


def jax_steps(build: dict[str, Any], settings: dict[str, Any], length: int) -> tuple[Step, Any]:
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from models_jax import functional
    from models_jax.network import SequenceModel
    from ssm.network import initial, network_options, ssm_parameter_names

    jax.config.update("jax_default_matmul_precision", "highest")
    options = network_options(build["model"]["name"], CHANNELS, CLASSES, length, settings)
    parts = nnx.split(SequenceModel(options, initial(options, 0), jnp.float32), nnx.Param, nnx.BatchStat)
    network = functional.Network(*parts, jnp.float32)
    held = [functional.arrays(part) for part in parts[1:]]
    zeros = [jax.tree.map(jnp.zeros_like, held[0]) for _ in range(2)]
    held.append({"count": jnp.zeros((), jnp.int32), "first": zeros[0], "second": zeros[1]})
    update = partial(functional.update, optimiser=RATES, ssm_names=ssm_parameter_names(options))
    compiled = jax.jit(partial(functional.train, network, update), donate_argnums=(0, 1, 2))
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.normal(keys[0], (build["batch_size"], length, CHANNELS))
    batch = inputs, jax.random.randint(keys[1], (build["batch_size"],), 0, CLASSES)

    def step() -> Any:
        *held[:], last = compiled(*held, keys[2], batch, 1.0)
        return last

    return step, jax.block_until_ready


def tell(kind: str, **fields: Any) -> None:
    print(json.dumps({"@": kind, **fields}), flush=True)


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def timed(step: Step, wait: Any, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        last = step()
    wait(last)
    return time.perf_counter() - begin


def main() -> None:
    step: Step = None
    wait: Any = None
    baseline = 0
    tell("Greeting", protocol=PROTOCOL, tree=str(ROOT))
    for line in sys.stdin:
        request = json.loads(line)
        body = request["body"]
        kind = body["@"]
        if kind == "Leave":
            return
        answer: dict[str, Any] = {"@": "Done"}
        if kind == "Build":
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: body["threads"]])
            settings = {**body["model"], "encoder": "linear", "readout": "mean"}
            make = {"torch": torch_steps, "jax": jax_steps}[body["framework"]]
            step, wait = make(body, settings, body["length"] or 64)
            baseline = resident()
            answer = {"@": "Built"}
        elif kind == "FirstCall":
            answer = {"@": "Timed", "samples": [timed(step, wait, 1)]}
        elif kind == "WarmUp":
            timed(step, wait, body["calls"])
        elif kind == "Singles":
            answer = {"@": "Timed", "samples": [timed(step, wait, 1) for _ in range(body["calls"])]}
        elif kind == "Memory":
            peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            section = {"peak_bytes": peak - baseline, "baseline_bytes": baseline, "steady_peak_bytes": None}
            answer = {"@": "MemoryNow", "section": {**section, "source": "ru_maxrss", "compiled_bytes": None}}
        elif kind == "Turn":
            timed(step, wait, body["warm"])
            seconds = timed(step, wait, body["calls"])
            beside = {"@": "Beside", "faults": 0, "switches": 0, "others_seconds": None, "stolen_seconds": None}
            answer = {"@": "Turned", "seconds": seconds, "beside": beside}
        tell("Result", number=request["number"], body=answer)


if __name__ == "__main__":
    main()
