"""What every state-space layer offers, and how a module takes its initial values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

Constants = dict[str, Tensor]
State = Tensor | tuple[Tensor, Tensor]


def hold(module: nn.Module, values: Mapping[str, np.ndarray], dtype: torch.dtype) -> None:
    """Registers each value as a parameter of ``module`` under its name."""
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(torch.tensor(value, dtype=dtype)))


def under(values: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The values whose dotted name starts with ``prefix``, that part taken off."""
    return {name[len(prefix) + 1 :]: value for name, value in values.items() if name.startswith(prefix + ".")}


class Layer(nn.Module, ABC):
    """A linear map of sequences, in two forms that agree: over a whole sequence, and one step at a time."""

    name: ClassVar[str]  # of the mathematics, ssm.<name>

    @abstractmethod
    def forward(self, u: Tensor) -> Tensor:
        """u (B, L, H) -> y (B, L, H), any length L."""

    @abstractmethod
    def discretised(self) -> Constants:
        """What the step form needs, computed once. Raises ValueError for a bidirectional layer."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The zero state of ``batch`` sequences, complex (with a count of steps where a layer needs one)."""

    @abstractmethod
    def step(self, u: Tensor, state: State, constants: Constants) -> tuple[Tensor, State]:
        """One step: u (B, H) and the state before -> y (B, H) and the state after."""


def refuse_bidirectional(bidirectional: bool) -> None:
    if bidirectional:
        raise ValueError(
            "bidirectional=True: a step at a time sees no future; build the layer with bidirectional=False."
        )
