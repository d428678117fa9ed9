"""The format of checkpoints, for who writes and who reads them: names within a safetensors file."""

from __future__ import annotations

HEADER = "ssm-bench"  # our JSON in the file's header: version, step, network, and what the training goes on from
VERSION = 1
PARAMETER, STATISTIC = "parameter.", "statistic."  # before a tensor's dotted name: as of the last step
BEST = "best."  # the same, parameters and statistics, as of the best epoch
