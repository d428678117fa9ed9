"""Analytic operations and bytes of a network's step: what the mathematics asks for, not what a compiler does.

Operations: 2 a multiply-add; a real transform of length n is 2.5 n log2 n. The backward pass is counted as twice the
forward one. Bytes: every parameter and every activation between stages moved once each way, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssm.network import NetworkOptions, mathematics, pooled_length

BYTES = 4
STAGES = 4  # activations a block must read or write at least: in, layer out, mixed, out


@dataclass(frozen=True)
class Operations:
    """Counts for one batch: floating-point operations, and the least bytes that must move (float32)."""

    forward_flops: float
    train_step_flops: float
    forward_bytes: float
    train_step_bytes: float


def operations(options: NetworkOptions, batch: int, parameters: int) -> Operations:
    """Counts for one batch of sequences of the length that ``options`` is built for; ``parameters`` is their number.

    batch: targets; with two documents each, the blocks see twice as many sequences. Padding counts as the rest does.
    """
    h, block, targets = options.d_model, options.block, batch
    batch *= options.documents
    flops = 2.0 * batch * options.l_max * h * (options.d_input if options.encoder == "linear" else 0)
    moved = 0.0
    length = options.l_max
    for layer in options.layers:
        length = layer.l_max
        flops += mathematics(options.name).flops(layer, batch)
        flops += len(block.dense_names) * 2.0 * batch * length * h * h
        flops += 20.0 * batch * length * h  # activation, residual, norm
        moved += STAGES * batch * length * h * BYTES
        length = pooled_length(length, block.pool_size, options.padding is not None)
    if options.documents > 1:
        flops += 2.0 * targets * 4 * h * h  # the head
    outputs = length if options.readout == "none" else 1
    flops += 2.0 * targets * outputs * h * options.d_output
    weights = float(parameters * BYTES)
    # a train step moves activations forward, back and their gradients; parameters, gradients and two moments both ways
    return Operations(flops, 3.0 * flops, moved + weights, 3.0 * moved + 8.0 * weights)
