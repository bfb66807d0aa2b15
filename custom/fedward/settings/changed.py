"""Explain settings that were renamed or removed, so that the error for an old file names the new setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED: Mapping[str, Mapping[str, str]] = {
    "JobSpec": {"encryption.largest": "clipping_range", "federation.local_only": "local_baseline"},
    "SitePolicy": {
        "leaving": "disclosure",
        "admits": "auto_approve",
        "cohorts.*.pacs.way": "protocol",
        "cohorts.*.pacs.own_ae_title": "calling_ae_title",
        "cohorts.*.pacs.find": "query",
    },
}
"""Class of the settings -> old key, with ``*`` for the name of a cohort -> the last part of the new key."""
REMOVED: Mapping[str, Mapping[str, str]] = {
    "JobSpec": {
        "privacy.dp_sgd.unit": "ε is always for a patient; an ε of 6.6 for images may be 38 for a patient with two",
        "privacy.dp_sgd.sampler": "each patient is always drawn independently (Poisson): for no other way is ε proven",
        "privacy.update.sensitivity_l2": "the sensitivity is always 2 · clip_norm_l2: with one patient changed, the "
        "clipped update may move from one side of the ball to the other",
        "privacy.update.stages": "the order is always clip, noise, encrypt: noise is measured against the clip, and "
        "nobody can clip or add noise to a cipher",
    }
}
"""Class of the settings -> key -> reason why the setting was removed."""


def hint(location: tuple[Any, ...], *, model: str) -> str | None:
    """Return an explanation of a renamed or removed key of a class of settings; None where the key never existed."""
    key = _key(location)
    if key in RENAMED.get(model, {}):
        return f"is called {RENAMED[model][key]} now; rename it"
    if key in REMOVED.get(model, {}):
        return f"is no setting any more, {REMOVED[model][key]}; leave it out"
    return None


def renamed_within(location: tuple[Any, ...], content: Any, *, model: str) -> bool:
    """True if a missing key is in the file under its old name, which ``hint`` explains already."""
    *above, name = location
    olds = [old.rpartition(".")[2] for old, new in RENAMED.get(model, {}).items() if new == name]
    return isinstance(content, dict) and any(old in content and hint((*above, old), model=model) for old in olds)


def _key(location: tuple[Any, ...]) -> str:
    parts = ["*" if number == 1 and location[0] == "cohorts" else str(part) for number, part in enumerate(location)]
    return ".".join(parts)
