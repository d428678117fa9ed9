"""A configuration from words, for the commands beside run.py that take its settings: `python -m bench.show ...`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.runs.command import CONF, as_refusal
from bench.runs.refusals import explain


def composed(words: Sequence[str], command: str) -> dict[str, Any]:
    """The configuration of `python run.py <words>`, resolved. ValueError, in our words, for what cannot be composed.

    command: who takes the words, for the refusal of an option.
    """
    if options := [word for word in words if word.startswith("-")]:
        raise ValueError(f"{options[0]}: {command} has no such option; it takes group=choice and setting=value")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            try:
                config = OmegaConf.to_container(compose("config", overrides=list(words)), resolve=True)
            except (ValueError, LookupError, AttributeError, TypeError, AssertionError) as error:  # Hydra, on odd words
                raise as_refusal(error) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, CONF, words)) from error
    assert isinstance(config, dict)
    return {str(name): value for name, value in config.items()}
