"""Aggregate updates of a round: ``PlainRound`` averages, ``SecureRound`` adds ciphertexts that it cannot decrypt."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from fedward.aggregation.checks import require_finite
from fedward.aggregation.fedavg import site_weight
from fedward.aggregation.free_rider import suspects
from fedward.aggregation.step import ServerStep
from fedward.errors import FederationError, JobError
from fedward.flare.protocol import MODEL, MaskedSum, Model, Reply
from fedward.flare.secagg_context import CLIPPED
from fedward.flare.server.averaging.norms import UsualNorms
from fedward.flare.server.averaging.signed_sum import SignedSum
from fedward.flare.server.participation import required_steps
from fedward.privacy.outgoing import check_tensors
from fedward.settings import JobSpec
from fedward.weights import Layout, Weights, add


class Round(ABC):
    """Aggregation of one round; FLARE's threads add each answer when it arrives."""

    def __init__(self) -> None:
        self._lock, self._open = threading.Lock(), True
        self.clipped: dict[str, int] = {}
        """Site -> number of values of its model that were outside the clipping range."""
        self.suspects: dict[str, str] = {}
        """Site -> reason why no local training explains its update; set by ``close``, only in an unencrypted job."""
        self.left_out: dict[str, str] = {}
        """Site -> reason why its update does not count after all; set when the round stops or its models are chosen."""
        self.unchosen: frozenset[str] = frozenset()
        """Sites of ``left_out`` of which nothing is wrong: the job's aggregation leaves some out in every round."""
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
        """Accept no more answers: the sites that count are fixed, without those whose update no honest site sends."""
        with self._lock:
            start = time.perf_counter()
            if self._open:
                self._open = False
                self._settle()
            self.add_s += time.perf_counter() - start

    def close(self) -> Model:
        """Return the model after this round. Nothing is added to it afterwards.

        Raises:
            FedwardError: the answers make no model.
        """
        self.stop()
        with self._lock:
            start = time.perf_counter()
            made = self._close()
            self.add_s += time.perf_counter() - start
            return made

    @property
    def sums(self) -> Mapping[str, SignedSum]:
        """Sums of the round that may have masks, by purpose."""
        return {}

    @property
    def too_few(self) -> str | None:
        """Reason why the hospitals so far are too few for a sum with masks to be opened; None if they are enough."""
        masks = (each.unmasking for each in self.sums.values())
        return next((why for each in masks if each is not None and (why := each.too_few) is not None), None)

    @property
    def masked(self) -> list[MaskedSum]:
        """Sums of a stopped round whose masks hospitals must help to take off before it can be closed."""
        found = (each.masked(purpose) for purpose, each in self.sums.items())
        return [one for one in found if one is not None]

    def restore(self, masked: MaskedSum) -> None:
        """Continue one sum of the round from another process of the server."""
        self.sums[masked.purpose].restore(masked)

    @property
    @abstractmethod
    def sites(self) -> list[str]:
        """Sites whose answers count, names sorted."""

    @abstractmethod
    def _take(self, site: str, reply: Reply) -> None: ...

    @abstractmethod
    def _settle(self) -> None:
        """Set ``left_out`` once all answers are there, so that it does not depend on their order."""

    @abstractmethod
    def _close(self) -> Model: ...


class PlainRound(Round):
    """Unencrypted round of federated averaging (McMahan 2017, alg. 1): adds the aggregated differences to the model.

    Updates are kept until the round ends and added in the order of the sites' names, so that the result is the same
    to the bit in any order of arrival. An update that is too long to be honest (``averaging.norms``) is left out.
    """

    def __init__(self, job: JobSpec, model: Model, step: ServerStep, norms: UsualNorms, *, layout: Layout) -> None:
        super().__init__()
        self._job, self._model, self._step, self._norms, self._layout = job, model, step, norms, layout
        self._updates: dict[str, tuple[Weights, float]] = {}
        self._patients: dict[str, int] = {}
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
        if patients is not None:
            self._patients[site] = int(patients)
        self._updates[site] = (update, site_weight(weighting, patients=int(patients or 0)))

    def _settle(self) -> None:
        arrays = {site: update for site, (update, _) in self._updates.items()}
        self.left_out = self._norms.too_long(arrays, steps=self._steps, patients=self._patients)
        for site in self.left_out:
            del self._updates[site]
            if self._steps is not None:
                del self._steps[site]

    def _close(self) -> Model:
        base = self._model.weights
        if base is None:
            raise FederationError("round starts from no model")
        before = self._step.last
        # ``difference`` checks the updates against each other
        with np.errstate(over="ignore", invalid="ignore"):
            made = add(base, self._step.difference(self._updates, steps=self._steps))
        require_finite(made, where="model after the round")
        self._norms.counted()
        if self._job.privacy.mechanism == "none":
            self.suspects = suspects({site: update for site, (update, _) in self._updates.items()}, previous=before)
        return Model(after=self._model.after + 1, weights=made)


class SecureRound(Round):
    """Round of an encrypted job. Each message is added when it arrives, so memory does not grow with the sites."""

    def __init__(self, adder: SignedSum, *, after: int, values: int) -> None:
        super().__init__()
        self._adder, self._after, self._values = adder, after, values

    @property
    def sums(self) -> Mapping[str, SignedSum]:
        return {MODEL: self._adder}

    @property
    def sites(self) -> list[str]:
        return sorted(self._adder.sites)

    def _take(self, site: str, reply: Reply) -> None:
        self._adder.add(reply, MODEL, site=site)
        self._count_clipped(site, reply)

    def _count_clipped(self, site: str, reply: Reply) -> None:
        if (clipped := clipped_of(reply, values=self._values)) is not None:
            self.clipped[site] = clipped

    def _settle(self) -> None:
        """Leave out nothing: the server cannot read a norm."""

    def _close(self) -> Model:
        return Model(after=self._after + 1, sealed=self._adder.sum())


def clipped_of(reply: Reply, *, values: int) -> int | None:
    """Return how many values of its model a site says it has clipped; None: none, or no such number."""
    clipped = (reply.sealed or {}).get(CLIPPED)
    return clipped if type(clipped) is int and 0 < clipped <= values else None


_UNWEIGHED = 'the site does not say how many patients trained; set federation.weighting to "equal"'
