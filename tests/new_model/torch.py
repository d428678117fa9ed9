"""Plain diagonal states with real decays, as a convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models_torch.conv import convolve
from models_torch.layer import Constants, Layer, step_sizes


class Decay(Layer):
    """H banks of N real states."""

    Lambda: nn.Parameter  # (N,), its logarithm
    C: nn.Parameter  # (H, N)

    def rates(self) -> Tensor:
        return step_sizes(self.log_dt)[:, None] * self.Lambda.exp()

    def over_sequence(self, u: Tensor) -> Tensor:
        steps = torch.arange(u.shape[1], dtype=u.dtype, device=u.device)
        kernel = (self.C[..., None] * (-self.rates()[..., None] * steps).exp()).sum(1)
        return convolve(u, kernel[None], self.D)

    def step_form(self) -> Constants:
        return {"decay": (-self.rates()).exp(), "output": self.C, "skip": self.D}

    def initial_state(self, batch: int) -> Tensor:
        return self.C.new_zeros(batch, *self.C.shape)

    def one_step(self, u: Tensor, state: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
        state = constants["decay"] * state + u[..., None]
        return (constants["output"] * state).sum(-1) + constants["skip"] * u, state
