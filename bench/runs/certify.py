"""The certificate of a run: looked up, made where it is wanted and not there, or the reason why there is none."""

from __future__ import annotations

import hashlib
from typing import Any

from bench.runs.declared import declared
from bench.runs.leases import alone, lease_folder
from bench.store import certificate
from bench.tasks import parity
from bench.tasks.context import Context
from bench.workers.remote import RunEnded
from settings.errors import SettingError
from settings.progress import VOICE
from settings.reasons import said

Found = tuple[dict[str, Any] | None, str | None]  # a certificate, and what the record should say of it


def provide(context: Context) -> Found:
    """certificate=auto and certificate=require, for a run whose task is not the comparison itself.

    Workers are started only where a certificate has to be made. ValueError where one is required and cannot be had.
    """
    require = context.config["certificate"] == "require"
    settings = comparison(context)
    missing = parity.lacking(context)
    found = None if missing else certificate.find(context.results_dir, parity.key(context, settings))
    if found is None and require:
        raise SettingError(
            "certificate",
            "require",
            f"{context.config['results_dir']} holds none for this model, precision, code and these versions",
            "run task=parity with the same settings, or set certificate=auto.",
        )
    if missing:
        return None, f"no certificate: {missing}"
    if found is None:
        try:
            found = _made_once(context, settings)
        except RunEnded as error:
            return None, f"no certificate: {error.status}: {said(error)}"
    if found["passed"]:
        return found, None
    if require:
        raise ValueError(f"certificate=require: {found['id']} was not passed: {certificate.differences(found)}")
    return found, f"certificate not passed: {certificate.differences(found)}"


def _made_once(context: Context, settings: parity.Settings) -> dict[str, Any]:
    """The certificate, by whoever comes first: others on this machine that want the same one wait for it."""
    key = parity.key(context, settings)
    name = hashlib.sha256(f"{context.results_dir.resolve()} {key}".encode()).hexdigest()[:16]
    with alone(lease_folder() / f"certificate-{name}", "the certificate", VOICE.say):
        found = certificate.find(context.results_dir, key)
        if found is None:
            names = " and ".join(sorted(context.frameworks))
            VOICE.say(f"certificate: checking that {names} agree ...")
            found = parity.certify(context, settings, recorded=False)
    return found


def comparison(context: Context) -> parity.Settings:
    """What a certificate for a run is taken with: conf/task/parity.yaml, and what the run's task shares with it."""
    stated = declared(context.root / "conf", "task/parity")
    own = {name: stated[name] for name in ("name", "batch_size", "steps")}
    shared = {name: getattr(context.settings, name) for name in ("length", "clip_norm")}
    optimiser = {**context.settings.optimiser, "accumulate": 1}  # its few sequences have no such number of parts
    return parity.Settings(**own, **shared, optimiser=optimiser)
