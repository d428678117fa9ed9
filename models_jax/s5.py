"""S5: one diagonal system with H inputs and H outputs, run by a scan (Smith et al. 2023, arXiv 2208.04933)."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from models_jax.chunks import chunked_scan
from models_jax.conv import transform_scan
from models_jax.dense import linear
from models_jax.keywords import BlockKeywords, LayerKeywords, ModelKeywords
from models_jax.layer import Constants, Layer, clip, step_sizes
from models_jax.network import Block, SequenceModel
from models_jax.scan import complex_view, linear_scan, real_view
from ssm.s5 import LEAST_DECAY


class S5(Layer):
    """A diagonal system with P latent states."""

    Lambda_re: nnx.Param  # (S,)
    Lambda_im: nnx.Param
    B_re: nnx.Param  # (S, H)
    B_im: nnx.Param
    C_re: nnx.Param  # (H, S)
    C_im: nnx.Param
    C2_re: nnx.Param  # (H, S), of the backward direction
    C2_im: nnx.Param
    log_dt: nnx.Param  # (S,), or (1,) with dt_shared

    def over_sequence(self, u: Array) -> Array:
        lam_bar, b_bar = self.discrete()
        entered = linear(u, real_view(b_bar.T).T)  # (B, L, 2 S)
        y = linear(self.states(lam_bar, entered), self.output("C").T)
        if self.options.bidirectional:
            y = y + linear(self.states(lam_bar, entered, reverse=True), self.output("C2").T)
        return y + self.D[...] * u

    def states(self, a: Array, b: Array, reverse: bool = False) -> Array:
        """x_l = a x_{l-1} + b_l by the chosen algorithm: a (S,) complex, b (B, L, 2 S) real -> (B, L, 2 S)."""
        if self.options.chosen == "scan":
            return linear_scan(a, b, reverse)
        run = chunked_scan if self.options.chosen == "chunked" else transform_scan
        return run(a, b[:, ::-1])[:, ::-1] if reverse else run(a, b)

    def discrete(self) -> tuple[Array, Array]:
        """Lambda_bar (S,), B_bar (S, H), complex."""
        real = clip(self.Lambda_re[...], -LEAST_DECAY) if self.options.clip_eigs else self.Lambda_re[...]
        lam, dt = (
            lax.complex(real, self.Lambda_im[...]),
            self.options.step_rescale * step_sizes(self.log_dt[...]),
        )
        if self.options.discretisation == "zoh":
            lam_bar, factor = jnp.exp(lam * dt), jnp.expm1(lam * dt) / lam
        else:
            inverse = 1.0 / (1.0 - 0.5 * dt * lam)
            lam_bar, factor = inverse * (1.0 + 0.5 * dt * lam), inverse * dt
        return lam_bar, factor[:, None] * lax.complex(self.B_re[...], self.B_im[...])

    def output(self, name: str) -> Array:
        """The output matrix as it acts on real_view: (2 S, H) real, pairs counted twice."""
        c = lax.complex(getattr(self, name + "_re")[...], -getattr(self, name + "_im")[...])
        return (2.0 if self.options.conj_sym else 1.0) * real_view(c).T

    def step_form(self) -> Constants:
        lam_bar, b_bar = self.discrete()
        return {"decay": lam_bar, "enter": real_view(b_bar.T), "output": self.output("C"), "skip": self.D[...]}

    def initial_state(self, batch: int) -> Array:
        return jnp.zeros((batch, self.options.stored), self.complex_dtype)

    def one_step(self, u: Array, state: Array, constants: Constants) -> tuple[Array, Array]:
        state = constants["decay"] * state + complex_view(u @ constants["enter"])
        return real_view(state) @ constants["output"] + constants["skip"] * u, state


class S5Layer(LayerKeywords, S5):
    """The layer by keywords, those of ``ssm.s5.Options``."""

    model = "s5"


class S5Block(BlockKeywords, Block):
    """A block around the layer; see ``models_jax.network.Block``."""

    model = "s5"


class S5Model(ModelKeywords, SequenceModel):
    """A network of such blocks; see ``models_jax.network.SequenceModel``."""

    model = "s5"
