"""Which parameter is not finite: what a diverged run says beside its loss. Looks at a copy, so only when asked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def first_not_finite(state: Mapping[str, np.ndarray]) -> str | None:
    """The first name, in the order of ``state`` (Trainer.state(): the model's), whose values are not all finite."""
    return next((name for name, value in state.items() if not np.isfinite(value).all()), None)


def described(state: Mapping[str, np.ndarray]) -> str:
    """A clause for a message: the first parameter that is not finite, and how many there are; or that all are."""
    first = first_not_finite(state)
    if first is None:
        return "all parameters are finite, the loss alone is not"
    others = sum(not np.isfinite(value).all() for value in state.values()) - 1
    return f"the first parameter that is not finite is {first}" + (f", with {others} behind it" if others else "")
