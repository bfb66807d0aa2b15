"""An encrypted job at one hospital: what its gates seal on the way out and open on the way in.

Sites send their own models times their weights, not differences: the sum of a round is then all that a site needs to go
on, whether it was there before or not, and since its tag shows whose sum it is, a server cannot choose the model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.key import FederationKey
from fedward.encryption.key_file import read_key
from fedward.encryption.layout import flatten, length, unflatten
from fedward.encryption.message import identity
from fedward.encryption.schemes import bits_of
from fedward.encryption.secure_sum import SecureSum
from fedward.encryption.topic import Purpose, Topic
from fedward.errors import EncryptionError, GateRefused
from fedward.flare.protocol import MODEL
from fedward.privacy.payload import Layout, check_counts
from fedward.settings import JobSpec, SitePolicy
from fedward.training.weights import Weights

KEY, SCHEME, CLIPPED = "key", "scheme", "clipped"
"""What stands in a site's ``sealed`` part beside messages."""


def count_topic(job: JobSpec, purpose: Purpose, *, job_id: str, bits: int) -> Topic | None:
    """What a sum of the job's score histograms or cohort statistics is about; None where the job has none."""
    from fedward.validation import cohort_statistics, pooled

    if purpose == "scores":
        layout, numbers, number = pooled.histogram_layout(job), pooled.histogram_length(job), job.federation.rounds
    else:
        layout, numbers = cohort_statistics.statistics_layout(job), cohort_statistics.statistics_length(job)
        number = 0
    if numbers == 0 or job.encryption is None or not job.encryption.statistics:
        return None
    return Topic(job_id=job_id, purpose=purpose, round_number=number, layout=layout, length=numbers, bits=bits)


def model_topic(layout: Layout, *, architecture: str, job_id: str, round_number: int, bits: int) -> Topic:
    """What the sum of a round's models is about: each value of the model, and the weight last."""
    return Topic(
        job_id=job_id,
        purpose="model",
        round_number=round_number,
        layout=architecture,
        length=length(layout) + 1,
        bits=bits,
    )


def confirm_topic(sealed: bytes, *, job_id: str, bits: int) -> Topic:
    """What hospitals sum to say that they have opened a sum: a one each, for that sum alone."""
    return Topic(job_id=job_id, purpose="confirm", round_number=0, layout=identity(sealed), length=1, bits=bits)


def enough(confirming: Collection[str], summed: Collection[str]) -> bool:
    """Whether more than two thirds of the hospitals in a sum have opened that sum and no other of its kind.

    Each hospital confirms one sum of a kind. Let two be confirmed so, one of n hospitals and one of n - k among them:
    at most n words were given and more than 2n/3 + 2(n - k)/3 were needed, so k > n/2. Since n - k is at least 3, k is
    at least 4: what two such sums differ by is never fewer than four hospitals'.
    """
    return 3 * len(set(confirming) & set(summed)) > 2 * len(set(summed))


@dataclass(frozen=True, slots=True)
class _Seen:
    """A sum that was opened here: what confirms it, and whose it is."""

    confirmation: Topic
    sites: tuple[str, ...]


class Sealing:
    """One encrypted job at one hospital.

    Args:
        job: with an ``[encryption]`` table.
        policy: names the file of the federation's key.
        job_id: FLARE's id of the run.
        layout: of the model.
        architecture: ``layout_hash`` of the model, which goes with every message.

    Raises:
        EncryptionError: no key, one that cannot be read, or a scheme without the job's precision.
    """

    def __init__(self, job: JobSpec, policy: SitePolicy, *, job_id: str, layout: Layout, architecture: str) -> None:
        if job.encryption is None:
            raise GateRefused("job is not encrypted")
        if policy.federation_key is None:
            raise EncryptionError("this hospital has no federation key", remedy="open a sealed box with one")
        self._job, self._job_id, self._asked = job, job_id, job.encryption
        self._layout, self._architecture = layout, architecture
        self._path = policy.federation_key
        self._key: FederationKey = read_key(self._path)
        self._sum = SecureSum(self._key, site=policy.site)
        self._bits = bits_of(self._key.scheme, self._asked.precision)
        self._fixed = FixedPoint(largest=self._asked.largest, bits=self._bits, max_sites=self._asked.max_sites)
        self._opened: dict[tuple[str, int], _Seen] = {}

    def require_key(self) -> None:
        """Refuse a key that was put in the place of this job's while it runs.

        Raises:
            EncryptionError: the file is gone, cannot be read, or holds another key.
        """
        if read_key(self._path).key_id != self._key.key_id:
            raise EncryptionError("the federation's key was changed while the job runs", remedy="submit the job again")

    @property
    def facts(self) -> dict[str, Any]:
        """The key's id and scheme, for the server."""
        return {KEY: self._key.key_id, SCHEME: self._key.scheme}

    def seal_model(self, model: Weights, *, patients: int | None, round_number: int) -> dict[str, Any]:
        """A site's model of a round times the site's weight, and the weight, so that the server can only add them.

        Returns:
            ``sealed`` part of a reply, with the number of values that were out of range and so clipped.

        Raises:
            EncryptionError: a weight above the job's ``max_patients``, or a value that is not finite.
        """
        weight = self._fixed.weight_code(self._weight(patients))
        codes, clipped = self._fixed.encode(flatten(model), weight_code=weight)
        message = self._sum.seal(np.append(codes, np.int64(weight)), self._model_topic(round_number))
        return {**self.facts, MODEL: message, CLIPPED: clipped}

    def open_model(self, sealed: object, *, round_number: int) -> Weights:
        """The model that the sites' sum of a round is: at least three hospitals' weighted mean, and nobody else's word.

        Raises:
            EncryptionError: it is not their sum, or is of another key, job or round.
            GateRefused: another sum of the same round was opened before.
        """
        topic = self._model_topic(round_number)
        codes, sites = self._open(sealed, topic)
        mean = self._fixed.decode(codes[:-1], weight_code=int(codes[-1]), sites=sites)
        return unflatten(mean, self._layout)

    def seal_counts(self, counts: Mapping[str, Any]) -> dict[str, bytes]:
        """Messages by purpose; a purpose that the job does not sum is refused.

        Raises:
            GateRefused: no such purpose, or no vector of counts of its length.
        """
        found = {}
        for purpose, values in counts.items():
            topic = self._count_topic(purpose)
            found[purpose] = self._sum.seal(check_counts(values, length=topic.length, min_count=1), topic)
        return found

    def open_counts(self, purpose: str, sealed: object) -> NDArray[np.int64]:
        """A sum of counts of at least three hospitals.

        Raises:
            EncryptionError, GateRefused: as ``open_model``.
        """
        codes, _ = self._open(sealed, self._count_topic(purpose))
        if (codes < 0).any():
            raise GateRefused("sum of counts has a negative one")
        return codes

    def confirm_model(self, *, round_number: int) -> bytes:
        """This hospital's word that it opened a round's sum, to be summed with the others'.

        Raises:
            GateRefused: it opened none.
        """
        return self._confirm("model", round_number)

    def confirm_counts(self, purpose: str) -> bytes:
        """As ``confirm_model``, for a sum of counts."""
        topic = self._count_topic(purpose)
        return self._confirm(topic.purpose, topic.round_number)

    def require_confirmed_model(self, confirmed: object, *, round_number: int) -> None:
        """Refuse to let a model out before enough hospitals have said that they opened the same sum.

        Without it, a server could have two hospitals open two sums that differ by one hospital.

        Raises:
            EncryptionError, GateRefused: it is no such sum of words, or of too few.
        """
        self._require_confirmed(confirmed, "model", round_number)

    def require_confirmed_counts(self, confirmed: object, purpose: str) -> None:
        """As ``require_confirmed_model``, for a sum of counts."""
        topic = self._count_topic(purpose)
        self._require_confirmed(confirmed, topic.purpose, topic.round_number)

    def _open(self, sealed: object, topic: Topic) -> tuple[NDArray[np.int64], int]:
        if type(sealed) is not bytes:
            raise GateRefused("task brings no sealed sum")
        opened = self._sum.open(sealed, topic)
        seen = _Seen(confirm_topic(sealed, job_id=self._job_id, bits=self._bits), opened.sites)
        if self._opened.setdefault((topic.purpose, topic.round_number), seen) != seen:
            # of two sums of one round, the difference is what one hospital sent
            raise GateRefused("another sum of this round was opened before")
        return opened.codes, len(opened.sites)

    def _confirm(self, purpose: Purpose, round_number: int) -> bytes:
        seen = self._seen(purpose, round_number)
        return self._sum.seal(np.ones(1, np.int64), seen.confirmation)

    def _require_confirmed(self, confirmed: object, purpose: Purpose, round_number: int) -> None:
        if type(confirmed) is not bytes:
            raise GateRefused("sum comes without the hospitals' word that they opened it")
        seen = self._seen(purpose, round_number)
        words = self._sum.open(confirmed, seen.confirmation)
        if int(words.codes[0]) != len(words.sites) or not enough(words.sites, seen.sites):
            raise GateRefused("too few of the hospitals in the sum say that they opened it")

    def _seen(self, purpose: Purpose, round_number: int) -> _Seen:
        seen = self._opened.get((purpose, round_number))
        if seen is None:
            raise GateRefused("no such sum was opened here")
        return seen

    def _weight(self, patients: int | None) -> float:
        if self._job.federation.weighting == "equal":
            return 1.0
        if patients is None or patients < 1:
            raise GateRefused("update says no number of patients where weighting is by patients")
        return patients / self._asked.max_patients

    def _model_topic(self, round_number: int) -> Topic:
        return model_topic(
            self._layout,
            architecture=self._architecture,
            job_id=self._job_id,
            round_number=round_number,
            bits=self._bits,
        )

    def _count_topic(self, purpose: str) -> Topic:
        known: dict[str, Purpose] = {"scores": "scores", "cohort": "cohort"}
        topic = None
        if purpose in known:
            topic = count_topic(self._job, known[purpose], job_id=self._job_id, bits=self._bits)
        if topic is None:
            raise GateRefused("counts of a purpose that this job does not sum")
        return topic
