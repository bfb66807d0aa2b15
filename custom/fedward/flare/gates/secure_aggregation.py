"""Seal outgoing messages and open incoming sums for the gates, in an encrypted job at one hospital.

Sites send their own models multiplied by their weights, not differences. So a site needs only the sum of a round to
continue, even if it missed the rounds before. The sum's tag shows whose sum it is, so a server cannot choose the model.

The hospital's record holds the opened sums and the final model, and they are read from there: a restarted process knows
as much as the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.distances.requests import DISTANCES, SKETCH
from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.keys.signature import Signer
from fedward.encryption.masks.unmask_message import name_of_sum, requests_of
from fedward.encryption.message import identity, unpack
from fedward.encryption.roster import check_roster
from fedward.encryption.schemes import bits_of
from fedward.encryption.secure_sum import Opened
from fedward.encryption.sum_context import SumContext
from fedward.errors import GateError
from fedward.flare.gates.comparison import Comparison
from fedward.flare.gates.confirmations import Confirmations
from fedward.flare.gates.masked_key import MaskedKey
from fedward.flare.gates.run_topics import RunTopics
from fedward.flare.gates.shared_key import SharedKey
from fedward.flare.protocol import MODEL
from fedward.flare.secagg_context import CERTIFICATE, CLIPPED, NONCE, SHARES, SIGNATURE
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.outgoing import check_counts
from fedward.settings import JobSpec
from fedward.weights import Layout, Weights, flatten, unflatten


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
    ) -> None:
        if job.encryption is None:
            raise GateError("job is not encrypted")
        self._job, self._asked, self._site, self._keys = job, job.encryption, site, keys
        self._record, self._job_id, self._layout, self._signer = record, job_id, layout, signer
        bits = bits_of(self._asked.scheme, self._asked.precision)
        self._fixed = FixedPoint(clipping_range=self._asked.clipping_range, bits=bits, max_sites=self._asked.max_sites)
        self._topics = RunTopics(
            job, keys, record=record, job_id=job_id, layout=layout, architecture=architecture, bits=bits
        )
        self._comparison = self._compare_with(keys)
        self.confirmations = Confirmations(self._topics, keys, record=record, job_id=job_id, seal=self._sealed)

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
        return {**self._keys.admission, **self.facts, NONCE: self._record.require(self._job_id).nonce}

    def seal_model(self, model: Weights, *, patients: int | None, round_number: int, base: str) -> dict[str, Any]:
        """Seal a site's model of a round times the site's weight, and the weight, so that the server can only add them.

        Args:
            model: the site's.
            patients: that it was trained on.
            round_number: the round.
            base: identity of the model that the round started from.

        Returns:
            ``sealed`` part of a reply, with the number of values that were outside the clipping range and so clipped.

        Raises:
            EncryptionError: a weight above the job's ``max_patients``, or a value that is not finite.
        """
        weight = self._fixed.weight_code(self._weight(patients))
        codes, clipped = self._fixed.encode(flatten(model), weight_code=weight)
        topic = self._topics.model(round_number, base=base)
        sealed = self._sealed(MODEL, np.append(codes, np.int64(weight)), topic)
        if self._comparison is not None:
            self._comparison.keep(codes, sealed[MODEL], round_number=round_number)
        return {**self.facts, **sealed, CLIPPED: clipped}

    def open_model(self, sealed: object, *, round_number: int, proof: object = None) -> tuple[Weights, str]:
        """Return the model of the sites' sum of a round: the weighted mean of at least three hospitals, and no other.

        Args:
            sealed: sum, as received.
            round_number: the round.
            proof: where models were compared, that the sum is of those that were: ``SketchedSum``, as received.

        Returns:
            The model, and the identity of its sum.

        Raises:
            EncryptionError: it is not the sites' sum, or is of another key, run or round.
            GateError: another sum of the same round was opened before.
        """
        if type(sealed) is not bytes:
            raise GateError("task brings no sealed sum")
        base = unpack(sealed).topic.base  # the tag binds it; a hospital that sent an update of the round knows it
        topic = self._topics.model(round_number, base=base)
        opened, found = self._open(sealed, topic, proof=proof)
        mean = self._fixed.decode(opened.codes[:-1], weight_code=int(opened.codes[-1]), sites=len(opened.sites))
        return unflatten(mean, self._layout), found

    def seal_counts(self, counts: Mapping[str, Any]) -> dict[str, bytes]:
        """Seal counts and return messages and signatures by purpose; refuse a purpose that the job does not sum.

        Raises:
            GateError: there is no such purpose, or the counts are not a vector of its length.
        """
        found = dict[str, bytes]()
        for purpose, values in counts.items():
            topic = self._topics.counts(purpose)
            found |= self._sealed(purpose, check_counts(values, length=topic.length, min_count=1), topic)
        return found

    def open_counts(self, purpose: str, sealed: object) -> NDArray[np.int64]:
        """Open a sum of counts of at least three hospitals.

        Raises:
            EncryptionError, GateError: as ``open_model``.
        """
        opened, _ = self._open(sealed, self._topics.counts(purpose))
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
            base, of_model = content.get("base"), purpose in (MODEL, SKETCH, DISTANCES)
            topic = self._topics.model(round_number, base=base) if of_model else self._topics.counts(purpose)
            answer = self._help(purpose, content, topic)
            found |= {SHARES + purpose: answer, SIGNATURE + SHARES + purpose: self._signature(answer, topic)}
        return found

    def _help(self, purpose: str, content: object, topic: SumContext) -> bytes:
        compared = self._comparison
        if purpose in (SKETCH, DISTANCES):
            if compared is None:
                raise GateError("task compares models in a job that does not")
            return compared.sketch(content, topic) if purpose == SKETCH else compared.distances(content, topic)
        if compared is None or purpose != MODEL:
            return self._masked.help(content, topic)
        return self._masked.help(content, topic, sketched=partial(compared.share_of_sum, topic))

    def _compare_with(self, keys: SharedKey | MaskedKey) -> Comparison | None:
        if self._job.federation.aggregation != "byzsecagg":
            return None
        if not isinstance(keys, MaskedKey):
            raise GateError("models are compared in a masked job only")
        return Comparison(self._job, keys, site=self._site, record=self._record, job_id=self._job_id)

    @property
    def _masked(self) -> MaskedKey:
        if not isinstance(self._keys, MaskedKey):
            raise GateError("task is for a masked job, and this one is not masked")
        return self._keys

    def _signature(self, message: bytes, topic: SumContext) -> bytes:
        return self._signer.sign(message, topic, site=self._site)

    def _open(self, sealed: object, topic: SumContext, *, proof: object = None) -> tuple[Opened, str]:
        """Open and verify a sum; return it and its identity. Record it before use: one sum per purpose and round."""
        if type(sealed) is not bytes:
            raise GateError("task brings no sealed sum")
        opened, roster = self._keys.open(sealed, topic), self._topics.roster
        if not set(opened.sites) <= set(roster):
            raise GateError("sum names a hospital that takes no part in this job")
        helped = self._topics.run.helped(topic.purpose, topic.round_number)
        if helped is not None and helped["messages"] != name_of_sum(topic, opened.nonces):
            raise GateError("sum is of other messages than those that this hospital helped to open")
        if self._comparison is not None and topic.purpose == MODEL:
            self._comparison.require(opened.codes[:-1], proof, topic=topic, nonces=opened.nonces)
        found = identity(sealed)
        # the difference of two sums of one round is the contribution of one hospital
        self._record.open_sum(
            self._job_id, purpose=topic.purpose, round_number=topic.round_number, sum=found, sites=opened.sites
        )
        return opened, found

    def _sealed(self, name: str, codes: NDArray[np.int64], topic: SumContext) -> dict[str, bytes]:
        """Seal numbers for a sum; return the message under its name, and its signature."""
        message = self._keys.secure_sum.seal(codes, topic)
        return {name: message, SIGNATURE + name: self._signature(message, topic)}

    def _weight(self, patients: int | None) -> float:
        if self._job.federation.weighting == "equal":
            return 1.0
        if patients is None or patients < 1:
            raise GateError("update says no number of patients where weighting is by patients")
        return patients / self._asked.max_patients
