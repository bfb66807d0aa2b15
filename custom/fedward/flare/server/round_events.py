"""Make the events of a round that counts; the checkpoint holds them until they are in the job's log."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fedward.flare.protocol import Reply
from fedward.flare.server.asking.answers import Answers
from fedward.flare.server.averaging.round import Round
from fedward.flare.server.participation import participation, patients_of, patients_together
from fedward.metrics.events import make_event


def round_events(
    number: int, taken: Round, sites: Collection[str], answers: Answers, *, wall_s: float
) -> list[dict[str, Any]]:
    """Return the events of a round that counts: clipped values, suspects, and the round itself last."""
    found = [
        make_event("clipped", round=number, site=site, values=values) for site, values in sorted(taken.clipped.items())
    ]
    suspects = sorted(taken.suspects.items())
    found += [make_event("suspect", site=site, round=number, reason=reason) for site, reason in suspects]
    patients = patients_by_site(taken.sites, answers.replies)
    unchosen = {site: taken.left_out[site] for site in taken.unchosen}
    ledger = participation(
        sites,
        patients,
        refused={**answers.missing, **unchosen},
        parts=answers.parts,
        unchosen=patients_by_site(unchosen, answers.replies),
    )
    stages = {"wait_s": round(max(wall_s - taken.add_s, 0.0), 3), "add_s": round(taken.add_s, 3)}
    facts = {"wall_s": round(wall_s, 3), "stages": stages, "patients": patients_together(ledger)}
    return [*found, make_event("round", round=number, sites=taken.sites, **facts, participation=ledger)]


def patients_by_site(sites: Collection[str], replies: Mapping[str, Reply]) -> dict[str, int | None]:
    """Return the training patients that each site reports; ``replies`` may lack an answer that has just arrived."""
    found = ((site, replies.get(site)) for site in list(sites))
    return {site: None if reply is None else patients_of(reply.metrics) for site, reply in found}
