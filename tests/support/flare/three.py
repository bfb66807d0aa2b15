"""Simulate three or more hospitals and a server in one encrypted job, as their gates see it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.shareable import Shareable

from fedward.encryption.keys.key import FederationKey, create_key
from fedward.flare.gates import gate
from fedward.flare.gates.sums.secure_aggregation import SecureAggregation
from fedward.flare.protocol import (
    PATIENTS,
    ROSTER,
    Model,
    Payload,
    Reply,
    Sum,
    Task,
    global_weights,
    question,
    refusal,
    to_reply,
    to_shareable,
)
from fedward.flare.secagg_context import INITIAL
from fedward.flare.server.asking.broadcast import Carried
from fedward.flare.server.averaging.round import SecureRound
from fedward.flare.server.key_agreement import make_keys
from fedward.flare.server.masked_sums import take_masks_off
from fedward.flare.server.rounds import JobRounds
from fedward.metrics.events import EventLog
from fedward.weights import Weights, add
from tests.support.flare.hospital import Hospital
from tests.support.flare.signed import members

SITES = ("city", "coast", "north")
KEY, OTHER = create_key(), create_key()
_AGAIN = itertools.count()


class Three:
    """Three hospitals, or more, and a server in one encrypted job, with no network between them."""

    def __init__(
        self,
        folder: Path,
        privacy: str = "none",
        *,
        key: FederationKey | None = KEY,
        sites: tuple[str, ...] = SITES,
        job_id: str | None = None,
        **changes: Any,
    ) -> None:
        made: dict[str, Hospital] = {}
        for site in sites:
            shared_id = made[sites[0]].job_id if made else job_id
            made[site] = Hospital(
                folder / site,
                privacy,
                site=site,
                shared=key,
                masked=key is None,
                job_id=shared_id,
                admitted=False,
                changes=changes,
            )
        self.hospitals, self.sites = made, sites
        self.seeds = {site: number for number, site in enumerate(sites)}
        first = made[sites[0]]
        self.exchange = JobRounds(first.job, job_id=first.job_id, initial=first.model, members=members())
        self.introduced: set[str] = set()
        self.asked_for: dict[str, dict[str, str]] = {}
        """Hospital -> nonces of the last sum that it was asked to help open."""
        self.uploads: Mapping[str, Mapping[str, bytes]] = {}
        """Hospital -> packages of its last upload."""
        self.events = EventLog(folder / "events.jsonl")
        self.lost: set[str] = set()
        """Hospitals that answer no request to open a sum."""
        self.begin()

    def begin(self) -> None:
        """Have the hospitals admit the job, and one of them make its key where it is masked."""
        assert self.exchange.agree_on_key({site: self.admit(site) for site in self.sites}) == {}
        if self.exchange.masked is not None:
            job = self.hospitals[self.sites[0]].job
            partless = make_keys(job, self.exchange, self.sites, ask=self.ask, events=self.events)
            self.sites = tuple(site for site in self.sites if site not in partless)

    def ask(self, task: Task, carried: Carried, sites: list[str], *, number: int = -1, **how: Any) -> dict[str, Reply]:
        """Send a task without a model to hospitals one after the other, and return their answers."""
        replies = {}
        for site in sorted(set(sites) - self.lost):
            received = self.give(site, task, carried[site] if isinstance(carried, Mapping) else carried, number=number)
            assert refusal(received) is None
            replies[site] = to_reply(self.hospitals[site].send(to_shareable(Reply()), task))
            if how.get("take") is not None:
                how["take"](site, replies[site])
        return replies

    def again(self, sites: tuple[str, ...] | None = None) -> Three:
        """The same job with some of the same hospitals, and their records, under another id."""
        other = copy.copy(self)
        other.sites = sites or self.sites
        other.hospitals = {site: copy.copy(self.hospitals[site]) for site in other.sites}
        job_id = f"{next(iter(self.hospitals.values())).job_id}-again-{next(_AGAIN)}"
        for hospital in other.hospitals.values():
            hospital.job_id = job_id
            hospital.charge()
            hospital.restart()
        first = other.hospitals[other.sites[0]]
        other.exchange = JobRounds(first.job, job_id=job_id, initial=first.model, members=members())
        other.introduced, other.lost = set(), set()
        other.begin()
        return other

    def admit(self, site: str) -> Reply:
        hospital = self.hospitals[site]
        self.give(site, Task.ADMIT, None, number=-1)
        return to_reply(hospital.send(to_shareable(Reply()), Task.ADMIT))

    def admitted_again(self, site: str) -> Reply:
        """The hospital's process was started anew before its first round."""
        self.hospitals[site].restart()
        return self.admit(site)

    def give(self, site: str, task: Task, carried: Payload, *, number: int = -1) -> Shareable:
        """Pass a task through the hospital's ingress gate; return what its executor receives."""
        hospital, roster = self.hospitals[site], None if task is Task.ADMIT else self.exchange.roster
        data = question(carried, round_number=number)
        data.set_header(ROSTER, roster)
        if self.exchange.masked is not None and task is not Task.ADMIT and site not in self.introduced:
            for name, content in self.exchange.masked.headers(site).items():
                data.set_header(name, content)
            if task is not Task.KEY:
                self.introduced.add(site)
        return hospital.ingress.process(data, hospital.context(task))

    def update(self, site: str, *, scale: float = 0.001) -> Weights:
        return self.hospitals[site].update(scale=scale, seed=self.seeds[site])

    def secure_aggregation(self, site: str) -> SecureAggregation:
        """Return the secure aggregation of the hospital's gates, to seal messages that they would not release."""
        return gate._STATES[site, self.hospitals[site].job_id].secure_aggregation

    def sealed_again(self, site: str, *, scale: float = 0.002) -> Reply:
        """Another message of round 0, which no honest gate lets out a second time."""
        local = add(self.hospitals[site].model, self.update(site, scale=scale))
        found = self.secure_aggregation(site)
        return Reply(sealed={**found.facts, **found.models.seal(local, patients=None, round_number=0, base=INITIAL)})

    def another_sum(self, sites: tuple[str, ...] | None = None) -> Model:
        """A sum of round 0 besides the honest one."""
        taken = self.exchange.round(self.exchange.initial)
        for site in sites or self.sites:
            taken.take(site, self.sealed_again(site))
        return taken.close()

    def train(self, site: str, model: Model, *, patients: int | None = None) -> Shareable:
        """Return the message that leaves the hospital in the round that starts from ``model``."""
        hospital = self.hospitals[site]
        received = self.give(site, Task.ROUND, model, number=model.after)
        assert refusal(received) is None
        update = self.update(site)
        proof = hospital.proof(update, number=model.after) if hospital.mechanism == "dp-sgd" else None
        answer = hospital.answer(update, proof=proof)
        if patients is not None:
            answer.set_header(PATIENTS, patients)
        return hospital.send(answer)

    def round(self, model: Model, sites: tuple[str, ...] | None = None) -> tuple[Model, SecureRound]:
        taken = self.exchange.round(model)
        assert isinstance(taken, SecureRound)
        for site in sites or self.sites:
            taken.take(site, to_reply(self.train(site, model)))
        assert self.choose(taken, model) is None
        return self.closed(taken, number=model.after), taken

    def choose(self, taken: SecureRound, model: Model) -> str | None:
        """Have the hospitals compare a round's models, where the job does; return why the round does not count."""
        taken.stop()
        choosing = self.exchange.choosing(taken, model)
        return None if choosing is None else choosing.run(self.sites, ask=self.ask, events=self.events)

    def closed(self, taken: SecureRound, *, number: int) -> Model:
        """Return the model of a round, once the hospitals have taken the masks off its sum."""
        taken.stop()
        assert take_masks_off(taken.sums, self.sites, ask=self.ask, events=self.events, number=number) == {}
        return taken.close()

    def opened(self, site: str, model: Model) -> Weights:
        return global_weights(self.give(site, Task.ROUND, model, number=model.after))

    def confirmed(self, total: Sum, sites: tuple[str, ...] = SITES) -> bytes | None:
        """Return the hospitals' confirmations that they opened a sum of counts."""
        words = {}
        for site in sites:
            hospital = self.hospitals[site]
            self.give(site, Task.CONFIRM, [total])
            words[site] = to_reply(hospital.send(to_shareable(Reply()), Task.CONFIRM))
        tally = self.exchange.confirmation(total.purpose, total.sealed)
        assert tally.take(words) == {}
        found = tally.close()
        return None if found is None else found.sealed

    def final(self, site: str, model: Model, counts: Mapping[str, Any] | None = None) -> Reply:
        self.give(site, Task.FINAL, model)
        return to_reply(self.hospitals[site].send(to_shareable(Reply(counts=counts)), Task.FINAL))

    def open(self, site: str, model: Model, confirmed: bytes | None) -> Shareable:
        """Ask the hospital to open the final model; return the message that leaves it."""
        self.give(site, Task.OPEN, replace(model, confirmed=confirmed))
        return self.hospitals[site].send(to_shareable(Reply()), Task.OPEN)

    def words(self, model: Model, sites: tuple[str, ...] = SITES) -> bytes | None:
        """Return the hospitals' confirmations that they opened a model."""
        assert model.sealed is not None
        tally = self.exchange.confirmation("model", model.sealed)
        self.said = {site: self.final(site, model) for site in sites}
        assert tally.take(self.said) == {}
        found = tally.close()
        return None if found is None else found.sealed


def mean(three: Three, sites: tuple[str, ...] = SITES) -> Weights:
    start, updates = three.hospitals[sites[0]].model, [three.update(site) for site in sites]
    return {
        name: np.mean([start[name] + update[name] for update in updates], axis=0, dtype=np.float64) for name in start
    }


def assert_close(found: Weights, due: Mapping[str, Any], *, within: float = 1e-6) -> None:
    assert set(found) == set(due)
    for name, array in due.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], array, atol=within, rtol=0)


def first_sum(three: Three) -> Model:
    return three.round(three.exchange.initial)[0]


def last(three: Three) -> Model:
    """The model of the last round."""
    model = three.exchange.initial
    for _ in range(three.hospitals["city"].job.federation.rounds):
        model, _ = three.round(model)
    return model
