"""The map: the stages of a job in order, where each runs, and which module does it.

A reader starts here. README's table is held to ``STAGES`` by a test, and so is every module that a stage names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Where = Literal["site, once", "site, once a job", "site, each round", "server, each round", "server", "both"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a job's way.

    Attributes:
        name: verb, as in the log and on the dashboard.
        where: whose machine does it, and how often.
        what: one phrase.
        module: where the code is.
    """

    name: str
    where: Where
    what: str
    module: str


STAGES = (
    Stage(
        "index", "site, once", "DICOM → quality gate → cohort manifest; the rest to quarantine", "fedward.dicom.index"
    ),
    Stage(
        "admit",
        "site, once a job",
        "job against the hospital's cohort: it takes part, or says why not",
        "fedward.flare.executor",
    ),
    Stage(
        "validate",
        "site, each round",
        "the incoming model on the hospital's own validation patients",
        "fedward.training.trainer",
    ),
    Stage("train", "site, each round", "MONAI network, local epochs or steps, FedProx", "fedward.training.trainer"),
    Stage(
        "send", "site, each round", "the difference to the incoming model, never full weights", "fedward.flare.protocol"
    ),
    Stage(
        "average",
        "server, each round",
        "mean of the differences, by patients or each site equal, in site order",
        "fedward.aggregation.fedavg",
    ),
    Stage("report", "both", "events → report.json → report.html", "fedward.reporting"),
)
