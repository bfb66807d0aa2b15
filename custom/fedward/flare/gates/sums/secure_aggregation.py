"""Seal outgoing messages and open incoming sums for the gates, in an encrypted job at one hospital.

Sites send their own models multiplied by their weights, not differences. So a site needs only the sum of a round to
continue, even if it missed the rounds before. The sum's tag shows whose sum it is, so a server cannot choose the model.

The hospital's record holds the opened sums and the final model, and they are read from there: a restarted process knows
as much as the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.keys.signature import Signer
from fedward.encryption.masks.unmask_message import requests_of
from fedward.encryption.roster import check_roster
from fedward.encryption.schemes import bits_of
from fedward.errors import GateError
from fedward.flare.gates.sums.confirmations import Confirmations
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.flare.gates.sums.round_gradients import RoundGradients
from fedward.flare.gates.sums.round_models import RoundModels
from fedward.flare.gates.sums.run_topics import RunTopics
from fedward.flare.gates.sums.sealed_sums import SealedSums
from fedward.flare.gates.sums.shared_key import SharedKey
from fedward.flare.secagg_context import CERTIFICATE, NONCE, SHARES, SIGNATURE
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.outgoing import check_counts
from fedward.settings import JobSpec
from fedward.weights import Layout

if TYPE_CHECKING:
    from fedward.training.union.kept_union import KeptUnion


class SecureAggregation:
    """Sealing and opening for one encrypted job at one hospital.

    Args:
        job: a job with an ``[encryption]`` table.
        keys: of the job's sums.
        site: this hospital.
        record: record of the hospital; it, and not this process, holds the opened and confirmed sums.
        job_id: FLARE's id of the run.
        layout: layout of the model.
        architecture: ``layout_hash`` of the model, part of the context of every sum of models.
        signer: signs every message with the key of the hospital's certificate.
        union: model and optimizer of this hospital, in a job with noise for the sum.

    Raises:
        EncryptionError: the scheme lacks the job's precision.
    """

    def __init__(
        self,
        job: JobSpec,
        keys: SharedKey | MaskedKey,
        *,
        site: str,
        record: Record,
        job_id: str,
        layout: Layout,
        architecture: str,
        signer: Signer,
        union: KeptUnion | None = None,
    ) -> None:
        if job.encryption is None:
            raise GateError("job is not encrypted")
        self._site, self._keys, self._record, self._job_id, self._signer = site, keys, record, job_id, signer
        asked = job.encryption
        bits = bits_of(asked.scheme, asked.precision)
        fixed = FixedPoint(clipping_range=asked.clipping_range, bits=bits, max_sites=asked.max_sites)
        self._topics = topics = RunTopics(
            job,
            keys,
            record=record,
            job_id=job_id,
            layout=layout,
            architecture=architecture,
            bits=bits,
            trained={} if union is None else {name: layout[name] for name in union.model.trained},
        )
        self._sums = sums = SealedSums(topics, keys, site=site, record=record, job_id=job_id, signer=signer)
        self._gradients = None if union is None else RoundGradients(job, topics, sums, union)
        self._models = None
        if union is None:
            self._models = RoundModels(
                job, topics, keys, sums, fixed=fixed, layout=layout, site=site, record=record, job_id=job_id
            )
        self.confirmations = Confirmations(topics, keys, record=record, job_id=job_id, seal=sums.seal)
        """Confirmations that sums were opened."""

    @property
    def models(self) -> RoundModels:
        """Models of the rounds; raises ``GateError`` in a job that sums gradients."""
        if self._models is None:
            raise GateError("round's sum is of another kind than the job's")
        return self._models

    @property
    def gradients(self) -> RoundGradients:
        """Gradients of the rounds; raises ``GateError`` in a job that sums models."""
        if self._gradients is None:
            raise GateError("round's sum is of another kind than the job's")
        return self._gradients

    @property
    def rounds(self) -> RoundModels | RoundGradients:
        """Models or gradients of the rounds, whichever the job sums."""
        return self.models if self._gradients is None else self._gradients

    def require_key(self) -> None:
        """Refuse a key that is gone, or that replaced this job's key while the job runs.

        Raises:
            EncryptionError: it is so.
        """
        self._keys.require()

    def take_roster(self, content: object) -> None:
        """Record the participating hospitals and the nonces that bind every sum of the run; later only the same.

        Raises:
            EncryptionError: it is not a roster, or this hospital's own nonce is not in it.
            GateError: it differs from the roster of the run's first task.
        """
        nonce = self._record.require(self._job_id).nonce
        self._record.take_roster(self._job_id, check_roster(content, site=self._site, nonce=nonce))

    def take_members(self, content: object, graph: object = None) -> None:
        """Verify the public keys of the hospitals of a masked run, and keep them; later only the same.

        Args:
            content: the hospitals, as received.
            graph: what they drew for a sparse mask graph, as received; None: the task brings none.

        Raises:
            EncryptionError: a key is not signed by its hospital, or the job is not masked.
        """
        members = self._masked.take_members(content, roster=self._topics.roster)
        if graph is not None:
            self._masked.take_graph(graph, members, roster=self._topics.roster)

    def require_graph(self) -> None:
        """Refuse to go on with a masked run before it is known who masks with whom; raises ``GateError``."""
        _ = self._masked.graph

    def take_job_key(self, maker: object, sealed: object) -> None:
        """Open the key of a masked job, which one of its hospitals made, and keep it; later only the same.

        Raises:
            EncryptionError: no hospital of the run sealed it for this one.
        """
        self._masked.take_job_key(maker, sealed, roster=self._topics.roster)

    def make_job_key(self) -> dict[str, Any]:
        """Make the key of a masked job and return it, sealed to each of its hospitals; a repeat gives the same.

        For a sparse mask graph, also draw this hospital's part of it.
        """
        roster = self._topics.roster
        return {**self._masked.make_job_key(roster=roster), **self._masked.draw(roster=roster)}

    @property
    def facts(self) -> dict[str, Any]:
        """Id and scheme of the key, and the hospital's certificate, for the server."""
        return {**self._keys.facts, CERTIFICATE: self._signer.certificate}

    @property
    def admission(self) -> dict[str, Any]:
        """Entries of the answer that admits the job, with the nonce that this hospital drew for the run."""
        known = {} if self._gradients is None else self._gradients.facts
        return {**self._keys.admission, **self.facts, **known, NONCE: self._record.require(self._job_id).nonce}

    def seal_counts(self, counts: Mapping[str, Any]) -> dict[str, bytes]:
        """Seal counts and return messages and signatures by purpose; refuse a purpose that the job does not sum.

        Raises:
            GateError: there is no such purpose, or the counts are not a vector of its length.
        """
        found = dict[str, bytes]()
        for purpose, values in counts.items():
            topic = self._topics.counts(purpose)
            found |= self._sums.seal(purpose, check_counts(values, length=topic.length, min_count=1), topic)
        return found

    def open_counts(self, purpose: str, sealed: object) -> NDArray[np.int64]:
        """Open a sum of counts of at least three hospitals.

        Raises:
            EncryptionError, GateError: as ``SealedSums.open``.
        """
        opened, _ = self._sums.open(sealed, self._topics.counts(purpose))
        if (opened.codes < 0).any():
            raise GateError("sum of counts has a negative one")
        return opened.codes

    def unmask(self, requests: object, *, round_number: int) -> dict[str, bytes]:
        """Return this hospital's shares of sums, by purpose, with signatures; each request is recorded before.

        Args:
            requests: purpose -> request, as received.
            round_number: of a sum of models; -1 for sums of counts.

        Raises:
            EncryptionError: a request names hospitals that take no part, or too few.
            GateError: the job is not masked, has no such sum, or this hospital helped to open another sum of it.
        """
        found = dict[str, bytes]()
        for purpose, content in requests_of(requests).items():
            topic = self.rounds.topic_of(purpose, content.get("base"), round_number=round_number)
            if topic is not None:
                answer = self.rounds.help(self._masked, purpose, content, topic)
            else:
                topic = self._topics.counts(purpose)
                answer = self._masked.help(content, topic)
            found |= {SHARES + purpose: answer, SIGNATURE + SHARES + purpose: self._sums.signature(answer, topic)}
        return found

    @property
    def _masked(self) -> MaskedKey:
        if not isinstance(self._keys, MaskedKey):
            raise GateError("task is for a masked job, and this one is not masked")
        return self._keys
