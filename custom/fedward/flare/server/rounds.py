"""Aggregate updates of a round: ``PlainRound`` averages, ``SecureRound`` adds ciphertexts that it cannot decrypt."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, get_args

from fedward.aggregation.fedavg import site_weight
from fedward.aggregation.free_rider import suspects
from fedward.aggregation.step import LAST, ServerStep
from fedward.encryption.message import identity, is_key_id, is_nonce
from fedward.encryption.roster import context_of
from fedward.encryption.schemes import bits_of
from fedward.encryption.secure_sum import Aggregator
from fedward.encryption.sum_context import SumContext
from fedward.errors import FederationError, JobError
from fedward.flare.protocol import CONFIRM, MODEL, Model, Reply
from fedward.flare.secagg_context import CLIPPED, INITIAL, KEY, NONCE, SCHEME, SumContexts
from fedward.flare.server.participation import required_steps
from fedward.flare.server.tally import Tally, message_of
from fedward.privacy.ledger.runs import FinalModel
from fedward.privacy.outgoing import check_tensors
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec, Scheme
from fedward.weights import Layout, Weights, add, layout_hash, layout_of


class Round(ABC):
    """Aggregation of one round; FLARE's threads add each answer when it arrives."""

    def __init__(self) -> None:
        self._lock, self._open = threading.Lock(), True
        self.clipped: dict[str, int] = {}
        """Site -> number of values of its model that were outside the clipping range."""
        self.suspects: dict[str, str] = {}
        """Site -> reason why no local training explains its update; set by ``close``, only in an unencrypted job."""
        self.add_s = 0.0
        """Seconds spent on adding."""

    def take(self, site: str, reply: Reply) -> None:
        """Add one site's answer.

        Raises:
            FedwardError: the answer cannot count; the round continues without it.
        """
        with self._lock:
            if not self._open:
                raise JobError("answer came after the round was closed")
            start = time.perf_counter()
            try:
                self._take(site, reply)
            finally:
                self.add_s += time.perf_counter() - start

    def stop(self) -> None:
        """Accept no more answers: the sites that count are fixed."""
        with self._lock:
            self._open = False

    def close(self) -> Model:
        """Return the model after this round. Nothing is added to it afterwards.

        Raises:
            FedwardError: the answers make no model.
        """
        with self._lock:
            self._open, start = False, time.perf_counter()
            made = self._close()
            self.add_s += time.perf_counter() - start
            return made

    @property
    @abstractmethod
    def sites(self) -> list[str]:
        """Sites whose answers count, names sorted."""

    @abstractmethod
    def _take(self, site: str, reply: Reply) -> None: ...

    @abstractmethod
    def _close(self) -> Model: ...


class PlainRound(Round):
    """Unencrypted round of federated averaging (McMahan 2017, alg. 1): adds the aggregated differences to the model.

    Updates are kept until the round ends and added in the order of the sites' names, so that the result is the same
    to the bit in any order of arrival.
    """

    def __init__(self, job: JobSpec, model: Model, step: ServerStep, *, layout: Layout) -> None:
        super().__init__()
        self._job, self._model, self._step, self._layout = job, model, step, layout
        self._updates: dict[str, tuple[Weights, float]] = {}
        self._steps: dict[str, int] | None = {} if job.federation.stragglers == "fewer_steps" else None

    @property
    def sites(self) -> list[str]:
        return sorted(self._updates)

    def _take(self, site: str, reply: Reply) -> None:
        weighting, patients = self._job.federation.weighting, reply.metrics.get("patients")
        if reply.update is None:
            raise JobError("answer brings no update")
        if weighting == "patients" and patients is None:
            raise JobError(_UNWEIGHED)
        update = check_tensors(reply.update, self._layout)
        if self._steps is not None:
            self._steps[site] = required_steps(reply.metrics, planned=self._job.training.local_steps)
        self._updates[site] = (update, site_weight(weighting, patients=int(patients or 0)))

    def _close(self) -> Model:
        base = self._model.weights
        if base is None:
            raise FederationError("round starts from no model")
        before = self._step.last
        made = add(
            base, self._step.difference(self._updates, steps=self._steps)
        )  # ``difference`` checks the updates against each other
        if self._job.privacy.mechanism == "none":
            self.suspects = suspects({site: update for site, (update, _) in self._updates.items()}, previous=before)
        return Model(after=self._model.after + 1, weights=made)


class SecureRound(Round):
    """Round of an encrypted job. Each message is added when it arrives, so memory does not grow with the sites."""

    def __init__(self, adder: Aggregator, *, after: int, values: int) -> None:
        super().__init__()
        self._adder, self._after, self._values = adder, after, values

    @property
    def sites(self) -> list[str]:
        return sorted(self._adder.sites)

    def _take(self, site: str, reply: Reply) -> None:
        message, clipped = message_of(reply, MODEL), (reply.sealed or {}).get(CLIPPED)
        self._adder.add(message, site=site)
        if type(clipped) is int and 0 < clipped <= self._values:
            self.clipped[site] = clipped

    def _close(self) -> Model:
        return Model(after=self._after + 1, sealed=self._adder.sum())


class JobRounds:
    """Rounds, sums and key of one job at the server.

    Args:
        job: the job.
        job_id: FLARE's id of the run.
        initial: the model that follows from the job's seed.
    """

    def __init__(self, job: JobSpec, *, job_id: str, initial: Weights) -> None:
        self._job, self._job_id, self._step = job, job_id, ServerStep(job)
        self.initial_weights, self.layout = initial, layout_of(initial)
        self.key: tuple[Scheme, str] | None = None
        self.roster: dict[str, str] | None = None
        """Roster of an encrypted job: the nonce that each participating hospital drew; it is sent to all of them."""
        self.initial = Model(after=0, weights=None if job.encryption else initial)

    @property
    def step(self) -> dict[str, Weights]:
        """State of the server's step for another process, without what only a job in the clear and unprotected uses."""
        last = self._job.encryption is None and self._job.privacy.mechanism == "none"
        return {name: arrays for name, arrays in self._step.state.items() if last or name != LAST}

    def restore(
        self, *, key: tuple[Scheme, str] | None, roster: Mapping[str, str] | None, step: Mapping[str, Weights]
    ) -> None:
        """Continue with what another process of the job agreed on with the sites, and with the state of its step.

        Raises:
            FederationError: an encrypted job without a key or roster, or the other way round.
            JobError: the state is that of another aggregation.
        """
        if any((given is None) != (self._job.encryption is None) for given in (key, roster)):
            raise FederationError("checkpoint's key and roster are not those of the job", where=self._job.job.name)
        self.key, self.roster = key, None if roster is None else dict(roster)
        self._step.restore(step)

    def strangers(self, replies: Mapping[str, Reply]) -> dict[str, str]:
        """Return the sites that are not those of the roster, although they admit the job again, with the reason."""
        if self._job.encryption is None or self.roster is None:
            return {}
        found = {}
        for site, reply in replies.items():
            if _key_of(reply) != self.key:
                found[site] = "came back without the federation key of the job's first rounds"
            elif (reply.sealed or {}).get(NONCE) != self.roster.get(site):
                found[site] = "came back without its record of this run; its messages can be in no sum of it"
        return found

    def round(self, model: Model) -> Round:
        """Return an empty round that starts from ``model``."""
        if self._job.encryption is None:
            return PlainRound(self._job, model, self._step, layout=self.layout)
        topic = self._topics.model(model.after)
        return SecureRound(self._adder(topic), after=model.after, values=topic.length)

    def agree_on_key(self, replies: dict[str, Reply]) -> dict[str, str]:
        """Set the key that more than half of the sites have, and their nonces; return the others, with the reason.

        Args:
            replies: the answers of the sites that admit the job; if there is none, no key is set.

        Raises:
            FederationError: no key is common to more than half of them.
        """
        if not replies:
            return {}
        keys = {site: _key_of(reply) for site, reply in replies.items()}
        held = [key for key in keys.values() if key is not None]
        common = max(set(held), key=lambda key: (held.count(key), key), default=None)
        if common is None or held.count(common) * 2 <= len(replies):
            reported = ", ".join(
                f"{site} {'none' if key is None else key[1][:8]}" for site, key in sorted(keys.items())
            )
            raise FederationError(
                "no key is held by more than half of the sites",
                value=reported,
                remedy="seal one hospital's to the others",
            )
        self.key = common
        because = f"the federation's is {common[1][:8]}…; open a sealed box with it"
        mismatched = {
            site: "reported no federation key, but the job is encrypted"
            if key is None
            else f"holds the {key[0]} key {key[1][:8]}… where {because}"
            for site, key in keys.items()
            if key != common
        }
        drawn = {site: (reply.sealed or {}).get(NONCE) for site, reply in replies.items() if site not in mismatched}
        self.roster = {site: str(nonce) for site, nonce in sorted(drawn.items()) if is_nonce(nonce)}
        return mismatched | {site: "sent no nonce for this run" for site in drawn if site not in self.roster}

    def tally(self, purpose: str, *, final: Model | None = None) -> Tally | None:
        """Return an empty sum of the final model's score histograms or of cohort statistics; None if there is none."""
        if self._job.encryption is None:
            return None
        reported = INITIAL if final is None or final.sealed is None else identity(final.sealed)
        named = None if final is None else FinalModel(final.after, reported)
        topic = self._topics.counts(purpose, final=named)
        return None if topic is None else Tally(self._adder(topic), purpose)

    def confirmation(self, purpose: str, sealed: bytes) -> Tally:
        """Return an empty sum of the hospitals' confirmations that they opened a sum."""
        return Tally(self._adder(self._topics.confirmation(identity(sealed))), CONFIRM + purpose)

    @property
    def facts(self) -> dict[str, Any] | None:
        """Scheme, precision and key id of the job, for its events; None: it is not encrypted."""
        if self._job.encryption is None or self.key is None:
            return None
        scheme, key_id = self.key
        return {"scheme": scheme, "precision": self._job.encryption.precision, "key": key_id}

    @property
    def _topics(self) -> SumContexts:
        if self.key is None or self.roster is None or self._job.encryption is None:
            raise FederationError("sites have agreed on no key")
        return SumContexts(
            job=self._job,
            job_id=self._job_id,
            context=context_of(self.roster, job=job_hash(self._job)),
            layout=self.layout,
            architecture=layout_hash(self.layout, network=self._job.model.network, args=self._job.model.args),
            bits=bits_of(self.key[0], self._job.encryption.precision),
        )

    def _adder(self, topic: SumContext) -> Aggregator:
        if self.key is None:
            raise FederationError("sites have agreed on no key")
        scheme, key_id = self.key
        return Aggregator(topic, scheme=scheme, key_id=key_id)


def _key_of(reply: Reply) -> tuple[Scheme, str] | None:
    scheme, key_id = ((reply.sealed or {}).get(name) for name in (SCHEME, KEY))
    known = next((one for one in get_args(Scheme) if one == scheme), None)
    return (known, key_id) if known is not None and type(key_id) is str and is_key_id(key_id) else None


_UNWEIGHED = 'the site does not say how many patients trained; set federation.weighting to "equal"'
