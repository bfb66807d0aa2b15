"""Count a job's steps in a hospital's ledger file, and compute their ε without Fedward's accountant."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant

from fedward.indexing.site_key import load_key
from fedward.privacy.ledger.charges import Charge
from fedward.privacy.ledger.ledger import Ledger
from fedward.reporting.data.event_lookup import Event
from fedward.settings import read_site
from tests.integration.faults.play import Play, wait_for

CLOSE = 2e-3
"""Relative difference of two discretisations of the privacy loss."""
SETTLED_S = 30.0
"""Seconds in which a hospital settles a charge that its processes left open, once it runs again."""


def entries(play: Play, site: str) -> list[tuple[str, dict[str, Any]]]:
    """Kind and body of each entry about the job in a hospital's ledger, read from the file itself."""
    path = read_site(play.federation.running.hospitals[site].config).ledger
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT kind, body FROM entries ORDER BY number").fetchall()
    found = [(str(kind), json.loads(body)) for kind, body in rows]
    return [(kind, body) for kind, body in found if body.get("job_id") == play.job_id]


def begun(play: Play, site: str) -> Counter[int]:
    """Round, from 0 -> times that the site began it."""
    return Counter(body["round"] for kind, body in entries(play, site) if kind == "begin")


def faults_of(play: Play, site: str, events: Sequence[Event]) -> Iterator[str]:
    """Each sentence is a fault in what the hospital's ledger says about the job; none for a job without noise."""
    if play.job.privacy.mechanism != "dp-sgd":
        return
    found = entries(play, site)
    charges = [body for kind, body in found if kind == "charge"]
    if not charges:
        if any(site in one["sites"] for one in events if one["event"] == "round"):
            yield f"{site} counted in a round and charged nobody"
        return
    policy = read_site(play.federation.running.hospitals[site].config)
    key = load_key(policy.key).secret

    def closed() -> Charge | None:
        found = Ledger.open(policy.ledger, site=site, key=key).find(play.job_id)
        return found if found is not None and found.closed else None

    try:
        wait_for(closed, what=f"the charge of {site} is closed", within_s=SETTLED_S)
    except AssertionError as error:
        yield str(error)
    charge = Ledger.open(policy.ledger, site=site, key=key).find(play.job_id)
    if len(charges) != 1 or charge is None:
        yield f"{site} has {len(charges)} charges"
        return
    steps = sum(body["steps"] for kind, body in found if kind == "begin")
    rounds = {one["round"] for one in events if one["event"] == "round" and site in one["sites"]}
    if rounds - set(begun(play, site)):
        yield f"{site} counted in rounds that its ledger does not know"
    told = Ledger.open(policy.ledger, site=site, key=key).alone(charge)
    right = independent(charges[0], steps=steps)
    if abs(told - right) > CLOSE * max(right, 1e-9):
        yield f"ε of {site} is {told:.4f}, and {right:.4f} for the {steps} steps that began"


def independent(charge: dict[str, Any], *, steps: int) -> float:
    """ε of so many steps, from dp-accounting."""
    if steps == 0:
        return 0.0
    gaussian = GaussianDpEvent(charge["noise_multiplier"])
    accountant = PLDAccountant()
    accountant.compose(SelfComposedDpEvent(PoissonSampledDpEvent(charge["sampling_rate"], gaussian), steps))
    return float(accountant.get_epsilon(charge["delta"]))
