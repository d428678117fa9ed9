"""S5: one diagonal system with H inputs and H outputs, run by a scan (Smith et al. 2023, arXiv 2208.04933)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models_torch.chunks import chunked_scan
from models_torch.conv import transform_scan
from models_torch.dense import linear
from models_torch.keywords import BlockKeywords, LayerKeywords, ModelKeywords
from models_torch.layer import Constants, Layer, step_sizes
from models_torch.network import Block, SequenceModel
from models_torch.scan import complex_view, linear_scan, real_view
from ssm.s5 import LEAST_DECAY


class S5(Layer):
    """A diagonal system with P latent states."""

    Lambda_re: nn.Parameter  # (S,)
    Lambda_im: nn.Parameter
    B_re: nn.Parameter  # (S, H)
    B_im: nn.Parameter
    C_re: nn.Parameter  # (H, S)
    C_im: nn.Parameter
    C2_re: nn.Parameter  # (H, S), of the backward direction
    C2_im: nn.Parameter
    log_dt: nn.Parameter  # (S,), or (1,) with dt_shared

    def over_sequence(self, u: Tensor) -> Tensor:
        lam_bar, b_bar = self.discrete()
        entered = linear(u, real_view(b_bar.T).T)  # (B, L, 2 S)
        y = linear(self.states(lam_bar, entered), self.output("C").T)
        if self.options.bidirectional:
            y = y + linear(self.states(lam_bar, entered, reverse=True), self.output("C2").T)
        return y + self.D * u

    def states(self, a: Tensor, b: Tensor, reverse: bool = False) -> Tensor:
        """x_l = a x_{l-1} + b_l by the chosen algorithm: a (S,) complex, b (B, L, 2 S) real -> (B, L, 2 S)."""
        if self.options.chosen == "scan":
            return linear_scan(a, b, reverse)
        run = chunked_scan if self.options.chosen == "chunked" else transform_scan
        return run(a, b.flip(1)).flip(1) if reverse else run(a, b)

    def discrete(self) -> tuple[Tensor, Tensor]:
        """Lambda_bar (S,), B_bar (S, H), complex."""
        real = self.Lambda_re.clamp(max=-LEAST_DECAY) if self.options.clip_eigs else self.Lambda_re
        lam, dt = torch.complex(real, self.Lambda_im), self.options.step_rescale * step_sizes(self.log_dt)
        if self.options.discretisation == "zoh":
            lam_bar = (lam * dt).exp()
            # exp(x) - 1 without cancellation near 0; torch has no complex expm1
            half = (0.5 * lam.imag * dt).sin()
            less_one = torch.complex((lam.real * dt).expm1() * (lam.imag * dt).cos() - 2.0 * half * half, lam_bar.imag)
            factor = less_one / lam
        else:
            inverse = 1.0 / (1.0 - 0.5 * dt * lam)
            lam_bar, factor = inverse * (1.0 + 0.5 * dt * lam), inverse * dt
        return lam_bar, factor[:, None] * torch.complex(self.B_re, self.B_im)

    def output(self, name: str) -> Tensor:
        """The output matrix as it acts on real_view: (2 S, H) real, pairs counted twice."""
        c = torch.complex(getattr(self, name + "_re"), -getattr(self, name + "_im"))
        return (2.0 if self.options.conj_sym else 1.0) * real_view(c).T

    def step_form(self) -> Constants:
        lam_bar, b_bar = self.discrete()
        return {"decay": lam_bar, "enter": real_view(b_bar.T), "output": self.output("C"), "skip": self.D}

    def initial_state(self, batch: int) -> Tensor:
        dtype = self.complex_dtype
        return torch.zeros(batch, self.options.stored, dtype=dtype, device=self.D.device)

    def one_step(self, u: Tensor, state: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
        state = constants["decay"] * state + complex_view(u @ constants["enter"])
        return real_view(state) @ constants["output"] + constants["skip"] * u, state


class S5Layer(LayerKeywords, S5):
    """The layer by keywords, those of ``ssm.s5.Options``."""

    model = "s5"


class S5Block(BlockKeywords, Block):
    """A block around the layer; see ``models_torch.network.Block``."""

    model = "s5"


class S5Model(ModelKeywords, SequenceModel):
    """A network of such blocks; see ``models_torch.network.SequenceModel``."""

    model = "s5"
