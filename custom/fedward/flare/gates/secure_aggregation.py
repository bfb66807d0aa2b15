"""Seal outgoing messages and open incoming sums for the gates, in an encrypted job at one hospital.

Sites send their own models multiplied by their weights, not differences. So a site needs only the sum of a round to
continue, even if it missed the rounds before. The sum's tag shows whose sum it is, so a server cannot choose the model.

The hospital's record holds the opened sums and the final model, and they are read from there: a restarted process knows
as much as the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.keys.key import FederationKey
from fedward.encryption.keys.key_file import read_key
from fedward.encryption.keys.signature import Signer
from fedward.encryption.message import identity
from fedward.encryption.roster import check_roster, context_of
from fedward.encryption.schemes import bits_of
from fedward.encryption.secure_sum import Opened, SecureSum
from fedward.encryption.sum_context import Purpose, SumContext
from fedward.errors import EncryptionError, GateError
from fedward.flare.protocol import CONFIRM, MODEL
from fedward.flare.secagg_context import CERTIFICATE, CLIPPED, KEY, NONCE, SCHEME, SIGNATURE, SumContexts, enough
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import FinalModel, Run
from fedward.privacy.outgoing import check_counts
from fedward.settings import JobSpec, SitePolicy
from fedward.weights import Layout, Weights, flatten, unflatten


class SecureAggregation:
    """Sealing and opening for one encrypted job at one hospital.

    Args:
        job: a job with an ``[encryption]`` table.
        policy: policy that names the file of the federation's key.
        record: record of the hospital; it, and not this process, holds the opened and confirmed sums.
        job_id: FLARE's id of the run.
        job_hash: ``job_hash`` of the job.
        layout: layout of the model.
        architecture: ``layout_hash`` of the model, part of the context of every sum of models.
        signer: signs every message with the key of the hospital's certificate.

    Raises:
        EncryptionError: there is no key, it cannot be read, or its scheme lacks the job's precision.
    """

    def __init__(
        self,
        job: JobSpec,
        policy: SitePolicy,
        *,
        record: Record,
        job_id: str,
        job_hash: str,
        layout: Layout,
        architecture: str,
        signer: Signer,
    ) -> None:
        if job.encryption is None:
            raise GateError("job is not encrypted")
        if policy.federation_key is None:
            raise EncryptionError("this hospital has no federation key", remedy="open a sealed box with one")
        self._job, self._asked, self._site = job, job.encryption, policy.site
        self._record, self._job_id, self._job_hash = record, job_id, job_hash
        self._layout, self._architecture, self._signer = layout, architecture, signer
        self._path = policy.federation_key
        self._key: FederationKey = read_key(self._path)
        self._sum = SecureSum(self._key, site=policy.site)
        self._bits = bits_of(self._key.scheme, self._asked.precision)
        self._fixed = FixedPoint(
            clipping_range=self._asked.clipping_range, bits=self._bits, max_sites=self._asked.max_sites
        )

    def require_key(self) -> None:
        """Refuse a key that replaced this job's key while the job runs.

        Raises:
            EncryptionError: the file is gone, cannot be read, or holds another key.
        """
        if read_key(self._path).key_id != self._key.key_id:
            raise EncryptionError("the federation's key was changed while the job runs", remedy="submit the job again")

    def take_roster(self, content: object) -> None:
        """Record the participating hospitals and the nonces that bind every sum of the run; later only the same.

        Raises:
            EncryptionError: it is not a roster, or this hospital's own nonce is not in it.
            GateError: it differs from the roster of the run's first task.
        """
        nonce = self._record.require(self._job_id).nonce
        self._record.take_roster(self._job_id, check_roster(content, site=self._site, nonce=nonce))

    @property
    def facts(self) -> dict[str, Any]:
        """Id and scheme of the key, and the hospital's certificate, for the server."""
        return {KEY: self._key.key_id, SCHEME: self._key.scheme, CERTIFICATE: self._signer.certificate}

    @property
    def nonce(self) -> dict[str, str]:
        """Nonce that this hospital drew for the run, for the server to send to all."""
        return {NONCE: self._record.require(self._job_id).nonce}

    def seal_model(self, model: Weights, *, patients: int | None, round_number: int) -> dict[str, Any]:
        """Seal a site's model of a round times the site's weight, and the weight, so that the server can only add them.

        Returns:
            ``sealed`` part of a reply, with the number of values that were outside the clipping range and so clipped.

        Raises:
            EncryptionError: a weight above the job's ``max_patients``, or a value that is not finite.
        """
        weight = self._fixed.weight_code(self._weight(patients))
        codes, clipped = self._fixed.encode(flatten(model), weight_code=weight)
        topic = self._topics(self._run).model(round_number)
        sealed = self._sealed(MODEL, np.append(codes, np.int64(weight)), topic)
        return {**self.facts, **sealed, CLIPPED: clipped}

    def open_model(self, sealed: object, *, round_number: int) -> tuple[Weights, str]:
        """Return the model of the sites' sum of a round: the weighted mean of at least three hospitals, and no other.

        Returns:
            The model, and the identity of its sum.

        Raises:
            EncryptionError: it is not the sites' sum, or is of another key, run or round.
            GateError: another sum of the same round was opened before.
        """
        opened, found = self._open(sealed, self._topics(self._run).model(round_number))
        mean = self._fixed.decode(opened.codes[:-1], weight_code=int(opened.codes[-1]), sites=len(opened.sites))
        return unflatten(mean, self._layout), found

    def seal_counts(self, counts: Mapping[str, Any]) -> dict[str, bytes]:
        """Seal counts and return messages and signatures by purpose; refuse a purpose that the job does not sum.

        Raises:
            GateError: there is no such purpose, or the counts are not a vector of its length.
        """
        found = dict[str, bytes]()
        for purpose, values in counts.items():
            topic = self._count_topic(purpose)
            found |= self._sealed(purpose, check_counts(values, length=topic.length, min_count=1), topic)
        return found

    def open_counts(self, purpose: str, sealed: object) -> NDArray[np.int64]:
        """Open a sum of counts of at least three hospitals.

        Raises:
            EncryptionError, GateError: as ``open_model``.
        """
        opened, _ = self._open(sealed, self._count_topic(purpose))
        if (opened.codes < 0).any():
            raise GateError("sum of counts has a negative one")
        return opened.codes

    def confirm_final(self) -> dict[str, bytes]:
        """Seal this hospital's confirmation that it opened the final model's sum, to be added to the others'.

        Raises:
            GateError: no final model was recorded, or its sum was not opened here.
        """
        run = self._run
        if run.final is None or run.final.after < 1:
            raise GateError("no final model that hospitals summed was settled here")
        return self._word(run, "model", run.final.after - 1, expected=run.final.model)

    def confirm_counts(self, purpose: str) -> dict[str, bytes]:
        """Seal a confirmation as ``confirm_final`` does, for a sum of counts; first record which sum is confirmed."""
        topic, run = self._count_topic(purpose), self._run
        found = _opened(run, topic.purpose, topic.round_number)["sum"]
        self._record.confirm_sum(self._job_id, purpose=topic.purpose, round_number=topic.round_number, sum=found)
        return self._word(run, topic.purpose, topic.round_number, expected=found)

    def require_confirmed_final(self, confirmed: object) -> FinalModel:
        """Refuse to release the final model before enough hospitals have confirmed that they opened the same sum.

        Without this check, a server could have two hospitals open two sums that differ by one hospital.

        Raises:
            EncryptionError, GateError: it is not a sum of such confirmations, or of too few.
        """
        final = self._run.final
        if final is None or final.after < 1:
            raise GateError("no final model that hospitals summed was settled here")
        self._require_confirmed(confirmed, "model", final.after - 1, expected=final.model)
        return final

    def require_confirmed_counts(self, confirmed: object, purpose: str) -> None:
        """Check a sum of counts as ``require_confirmed_final`` checks the final model."""
        topic = self._count_topic(purpose)
        found = _opened(self._run, topic.purpose, topic.round_number)["sum"]
        self._require_confirmed(confirmed, topic.purpose, topic.round_number, expected=found)

    def _open(self, sealed: object, topic: SumContext) -> tuple[Opened, str]:
        """Open and verify a sum; return it and its identity. Record it before use: one sum per purpose and round."""
        if type(sealed) is not bytes:
            raise GateError("task brings no sealed sum")
        opened, roster = self._sum.open(sealed, topic), self._run.roster or {}
        if not set(opened.sites) <= set(roster):
            raise GateError("sum names a hospital that takes no part in this job")
        found = identity(sealed)
        # the difference of two sums of one round is the contribution of one hospital
        self._record.open_sum(
            self._job_id, purpose=topic.purpose, round_number=topic.round_number, sum=found, sites=opened.sites
        )
        return opened, found

    def _sealed(self, name: str, codes: NDArray[np.int64], topic: SumContext) -> dict[str, bytes]:
        """Seal numbers for a sum; return the message under its name, and its signature."""
        message = self._sum.seal(codes, topic)
        return {name: message, SIGNATURE + name: self._signer.sign(message, topic, site=self._site)}

    def _word(self, run: Run, purpose: Purpose, round_number: int, *, expected: str) -> dict[str, bytes]:
        if _opened(run, purpose, round_number)["sum"] != expected:
            raise GateError("another sum of this round was opened before")
        return self._sealed(CONFIRM + purpose, np.ones(1, np.int64), self._topics(run).confirmation(expected))

    def _require_confirmed(self, confirmed: object, purpose: Purpose, round_number: int, *, expected: str) -> None:
        if type(confirmed) is not bytes:
            raise GateError("sum comes without the hospitals' word that they opened it")
        run = self._run
        words = self._sum.open(confirmed, self._topics(run).confirmation(expected))
        summed = _opened(run, purpose, round_number)["sites"]
        if int(words.codes[0]) != len(words.sites) or not enough(words.sites, summed):
            raise GateError("too few of the hospitals in the sum say that they opened it")

    @property
    def _run(self) -> Run:
        return self._record.require(self._job_id)

    def _topics(self, run: Run) -> SumContexts:
        if run.roster is None:
            raise GateError("no task has said which hospitals take part")
        return SumContexts(
            job=self._job,
            job_id=self._job_id,
            context=context_of(run.roster, job=self._job_hash),
            layout=self._layout,
            architecture=self._architecture,
            bits=self._bits,
        )

    def _weight(self, patients: int | None) -> float:
        if self._job.federation.weighting == "equal":
            return 1.0
        if patients is None or patients < 1:
            raise GateError("update says no number of patients where weighting is by patients")
        return patients / self._asked.max_patients

    def _count_topic(self, purpose: str) -> SumContext:
        run = self._run
        topic = self._topics(run).counts(purpose, final=run.final)
        if topic is None:
            raise GateError("counts of a purpose that this job does not sum")
        return topic


def _opened(run: Run, purpose: str, round_number: int) -> Mapping[str, Any]:
    found = run.opened(purpose, round_number)
    if found is None:
        raise GateError("no such sum was opened here")
    return found
