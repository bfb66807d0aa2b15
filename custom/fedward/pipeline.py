"""List the stages of a job in order, and the layers of the package, each package on one.

A reader starts here. Tests compare README's table with ``STAGES``, and every import with ``FLOORS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Where = Literal["site, once", "site, once a job", "site, each round", "server, each round", "server", "both"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a job.

    Attributes:
        name: a verb, as in the log and on the dashboard.
        where: the machine that does it, and how often.
        what: the step in one phrase.
        module: module that has the code.
    """

    name: str
    where: Where
    what: str
    module: str


STAGES = (
    Stage(
        "index",
        "site, once",
        "DICOM → quality gate → cohort manifest; the rest to quarantine",
        "fedward.indexing.index",
    ),
    Stage(
        "admit",
        "site, once a job",
        "job against policy, cohort and ledger, and charged to the ledger; or why not",
        "fedward.flare.site.job_privacy",
    ),
    Stage(
        "open",
        "site, each round",
        "an encrypted job's sum, shown to be of three hospitals or more, recorded, divided by their weight",
        "fedward.encryption.secure_sum",
    ),
    Stage(
        "receive",
        "site, each round",
        "IngressGate: the job's network, finite, no jump, no crafted first layer",
        "fedward.flare.gates.ingress",
    ),
    Stage(
        "validate",
        "site, each round",
        "the incoming model on the hospital's own validation patients",
        "fedward.training.trainer",
    ),
    Stage(
        "train",
        "site, each round",
        "MONAI network; with DP-SGD each patient's gradient clipped, then noise",
        "fedward.training.trainer",
    ),
    Stage(
        "leave",
        "site, each round",
        "EgressGate: the difference alone, proven against the ledger, clip, noise; listed metrics",
        "fedward.flare.gates.egress",
    ),
    Stage(
        "seal",
        "site, each round",
        "EgressGate, last: the model times the site's weight in whole numbers, encrypted and tagged",
        "fedward.flare.gates.sums.secure_aggregation",
    ),
    Stage(
        "add",
        "server, each round",
        "sealed models as they come, unread; in the clear the mean of the differences, in site order",
        "fedward.flare.server.rounds",
    ),
    Stage("report", "both", "events → report.json → report.html", "fedward.reporting"),
)

FLOORS: tuple[tuple[str, ...], ...] = (
    ("visible",),
    ("ends", "errors", "files", "hosts", "label_words", "measures", "pipeline", "structures", "toml_text"),
    ("dicom", "metrics", "screen", "settings", "weights"),
    ("aggregation", "dataset", "encryption", "transport"),
    ("indexing", "privacy", "provisioning"),
    ("audit", "validation"),
    ("dashboard", "reporting", "training", "upkeep"),
    ("coldstart", "flare", "parts"),
    ("bundle", "bundle_import"),
    ("demo", "doctor"),
    ("api",),
    ("commands",),
    ("cli",),
)
"""Layers of ``fedward``'s packages and modules, lowest first: each imports only from layers below its own."""
