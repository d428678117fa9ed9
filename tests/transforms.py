"""Which transforms are right and which are refused: what test_transforms.py tries, and the table in docs/transforms.md.

``python -m tests.transforms`` writes the table anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "transforms.md"
MARKED = re.compile(r"(?<=<!-- transforms -->\n\n).*?(?=\n\n<!-- /transforms -->)", re.DOTALL)


@dataclass(frozen=True)
class Use:
    """One framework's form of a transform: how it is called, the check that tries it, and, if it is refused, why."""

    call: str
    check: str
    instead: str = ""  # what to use; empty where the result is right
    says: str = ""  # what the error must say

    def cells(self) -> str:
        return f"{self.call} | {f'refused: {self.instead}' if self.instead else 'right'}"


@dataclass(frozen=True)
class Row:
    """A transform; ``on`` says what it is tried on ("all": layers, blocks, models, step forms)."""

    torch: Use | None
    jax: Use | None
    on: str = "all"


WRAP = "compile what contains the transform: `torch.compile(lambda x, v: torch.func.jvp(model, (x,), (v,)))`"
BUFFERS = "give the buffers too: `functional_call(model, (parameters, buffers), (x,))`, or `model.eval()`"
ROWS = [
    Row(Use("`torch.func.jvp`", "jvp"), Use("`jax.jvp`", "jvp")),
    Row(Use("`torch.func.linearize`", "linearize"), Use("`jax.linearize`", "linearize")),
    Row(Use("`torch.func.jacfwd`", "jacfwd"), Use("`jax.jacfwd`", "jacfwd")),
    Row(Use("`torch.autograd.forward_ad`", "forward_ad"), None),
    Row(Use("`torch.func.vjp`, `backward()`", "vjp"), Use("`jax.vjp`", "vjp")),
    Row(Use("`torch.func.jacrev`", "jacrev"), Use("`jax.jacrev`", "jacrev")),
    Row(Use("`torch.autograd.functional.jacobian(vectorize=True)`", "vectorised"), None),
    Row(Use("`torch.vmap`", "vmap"), Use("`jax.vmap`", "vmap")),
    Row(Use("`torch.vmap` of `torch.func.grad`", "vmap_of_grad"), Use("`jax.vmap` of `jax.grad`", "vmap_of_grad")),
    Row(Use("`torch.func.grad` of `grad`", "grad_of_grad"), Use("`jax.grad` of `jax.grad`", "grad_of_grad")),
    Row(Use("`torch.autograd.grad(create_graph=True)`, three times", "create_graph"), None),
    Row(Use("`torch.func.hessian`", "hessian"), Use("`jax.hessian`", "hessian")),
    Row(Use("`torch.utils.checkpoint`", "checkpoint"), Use("`jax.jit` of `jax.checkpoint`", "checkpoint")),
    Row(Use("`torch.compile(fullgraph=True)`", "compiled"), Use("`jax.jit`", "compiled"), "model"),
    Row(Use("`torch.compile` of `jvp` and `grad`", "inside_compiled"), None, "model"),
    Row(
        Use("`jvp` of a compiled model", "of_compiled", WRAP, r"torch.func.jvp\(compiled_fn\).*not supported"),
        Use("`jax.jvp`, `jax.grad` of `jax.jit`", "of_compiled"),
        "model",
    ),
    Row(Use("`torch.compile` of a `forward_ad.dual_level()`", "dual_inside_compiled"), None, "model"),
    Row(Use("`torch.export`", "export"), Use("`jax.export`", "export"), "model"),
    Row(Use("`jvp`, `grad`, `forward_ad` of an exported model", "of_export"), None, "model"),
    Row(None, Use("`jax.grad` of an exported model", "grad_of_export"), "model"),
    Row(
        None,
        Use("`jax.jvp` of an exported model", "jvp_of_export", "export the `jvp`", "forward-mode.*jvp"),
        "model",
    ),
    Row(None, Use("`jax.export` of `jax.jvp`", "export_of_jvp"), "model"),
    Row(
        None,
        Use(
            '`jax.numpy_dtype_promotion("strict")`',
            "dtypes",
            '`with jax.numpy_dtype_promotion("standard"):` around the model (DSS\'s kernels need it not)',
            "jax_numpy_dtype_promotion=strict",
        ),
        "promoting",
    ),
    Row(
        None,
        Use(
            '`jax.numpy_rank_promotion("raise")`',
            "ranks",
            '`with jax.numpy_rank_promotion("allow"):` around the model',
            "jax_numpy_rank_promotion='raise'",
        ),
        "model",
    ),
    Row(
        Use("`torch.func` in training with batch norm", "batch_norm_in_training", BUFFERS, "(?s)BatchNorm.*buffers"),
        Use("`jax.jvp`, `jax.grad` in training", "in_training"),
        "training",
    ),
    Row(Use("the same, its buffers given", "buffers_given"), None, "training"),
    Row(
        Use(
            "`torch.vmap` in training with dropout",
            "dropout_under_vmap",
            '`torch.vmap(randomness="different")`, or `"same"`',
            "randomness",
        ),
        Use("`jax.vmap` in training, its key given", "vmap"),
        "dropout",
    ),
]


def table() -> str:
    lines = ["| PyTorch | | JAX | |", "| --- | --- | --- | --- |"]
    for row in ROWS:
        cells = (use.cells() if use else " | " for use in (row.torch, row.jax))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def uses(framework: str) -> Iterator[tuple[str, Use]]:
    """What it is tried on, and the use."""
    for row in ROWS:
        use = getattr(row, framework)
        if use is not None:
            yield row.on, use


if __name__ == "__main__":
    DOCUMENT.write_text(MARKED.sub(lambda _: table(), DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
