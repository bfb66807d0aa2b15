"""Seal this hospital's model of a round, and open the sum, or the groups' sums, of which the next model is made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from fedward.encryption.distances.requests import CHECK, DISTANCES, SKETCH
from fedward.encryption.fixed_point import FixedPoint
from fedward.encryption.masks.graphs.groups import Grouping
from fedward.encryption.message import unpack
from fedward.encryption.secure_sum import Opened
from fedward.encryption.sum_context import SumContext
from fedward.encryption.sums import identity_of, sums_in
from fedward.errors import GateError
from fedward.flare.gates.sums.comparison import Comparison
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.flare.gates.sums.run_topics import RunTopics
from fedward.flare.gates.sums.sealed_sums import SealedSums
from fedward.flare.gates.sums.shared_key import SharedKey
from fedward.flare.protocol import MODEL
from fedward.flare.secagg_context import CLIPPED
from fedward.privacy.ledger.run_record import Record
from fedward.settings import JobSpec
from fedward.weights import Layout, Weights, flatten, unflatten

_COMPARES = (SKETCH, CHECK, DISTANCES)


class RoundModels:
    """Models of one encrypted job at one hospital.

    Args:
        job: the job.
        topics: contexts of the run's sums.
        keys: of the job's sums.
        sums: seals and opens.
        fixed: converts weights to the numbers of a sum.
        layout: layout of the model.
        site: this hospital.
        record: record of the hospital.
        job_id: FLARE's id of the run.
    """

    def __init__(
        self,
        job: JobSpec,
        topics: RunTopics,
        keys: SharedKey | MaskedKey,
        sums: SealedSums,
        *,
        fixed: FixedPoint,
        layout: Layout,
        site: str,
        record: Record,
        job_id: str,
    ) -> None:
        self._job, self._topics, self._keys, self._sums, self._fixed = job, topics, keys, sums, fixed
        self._layout, self._site, self._record, self._job_id = layout, site, record, job_id
        self._comparison: Comparison | None = None
        if job.federation.aggregation == "byzsecagg":
            if not isinstance(keys, MaskedKey):
                raise GateError("models are compared in a masked job only")
            self._comparison = Comparison(job, keys, site=site, record=record, job_id=job_id)

    def seal(self, model: Weights, *, patients: int | None, round_number: int, base: str) -> dict[str, Any]:
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
        topic = self._topics.model(round_number, base=base, group=self._group(round_number))
        sealed = self._sums.seal(MODEL, np.append(codes, np.int64(weight)), topic)
        if self._comparison is not None:
            self._comparison.keep(codes, sealed[MODEL], round_number=round_number)
        return {**sealed, CLIPPED: clipped}

    def open(self, sealed: object, *, round_number: int, proof: object = None) -> tuple[Weights, str]:
        """Return the model of the sites' sums of a round, and no other.

        It is the weighted mean of at least three hospitals; in a job with groups, the median of the groups' means.

        Args:
            sealed: sum, or sums of the groups, as received.
            round_number: the round.
            proof: where models were compared, that the sum is of those that were: ``SketchedSum``, as received.

        Returns:
            The model, and the identity of its sums.

        Raises:
            EncryptionError: it is not the sites' sum, or is of another key, run or round.
            GateError: another sum of the same round was opened before.
        """
        sums, numbers = sums_in(sealed), self._group_numbers
        if len(sums) != len(numbers):
            raise GateError("task brings another number of sums than the job has groups", value=len(sums))
        bases = {unpack(one).topic.base for one in sums}
        if len(bases) != 1:
            raise GateError("sums of one round started from different models")
        (base,) = bases  # the tag binds it; a hospital that sent an update of the round knows it
        means, sites, found = [], list[str](), ""
        for group, one in zip(numbers, sums, strict=True):
            topic = self._topics.model(round_number, base=base, group=group)
            opened, found = self._sums.open(one, topic, check=partial(self._check, topic, proof))
            weight, count = int(opened.codes[-1]), len(opened.sites)
            if self._job.federation.weighting == "equal" and weight != count * self._fixed.weight_code(1.0):
                raise GateError("sum has another weight than its hospitals together")
            means.append(self._fixed.decode(opened.codes[:-1], weight_code=weight, sites=count))
            sites += opened.sites
        if numbers == (-1,):
            return unflatten(means[0], self._layout), found
        found = identity_of(b"" if type(sealed) is not bytes else sealed)
        self._record.open_sum(self._job_id, purpose=MODEL, round_number=round_number, sum=found, sites=sites)
        return unflatten(np.median(means, axis=0), self._layout), found

    def topic_of(self, purpose: str, base: object, *, round_number: int) -> SumContext | None:
        """Return the context of the sum of models that a request is about; None: it is about another sum."""
        if purpose in (MODEL, *_COMPARES):
            return self._topics.model(round_number, base=base)
        for group in self._group_numbers:
            if purpose == f"{MODEL}-{group}":
                return self._topics.model(round_number, base=base, group=group)
        return None

    def help(self, keys: MaskedKey, purpose: str, content: object, topic: SumContext) -> bytes:
        """Return what a request about a sum of models asks for; errors as ``MaskedKey.help`` and ``Comparison``."""
        compared = self._comparison
        if purpose not in _COMPARES:
            sketched = (lambda nonces: None) if compared is None else partial(compared.share_of_sum, topic)
            return keys.help(content, topic, sketched=sketched)
        if compared is None:
            raise GateError("task compares models in a job that does not")
        return compared.answer(purpose, content, topic)

    def _check(self, topic: SumContext, proof: object, opened: Opened) -> None:
        if self._comparison is not None:
            self._comparison.require(opened.codes[:-1], proof, topic=topic, nonces=opened.nonces)

    @property
    def _grouping(self) -> Grouping | None:
        return self._keys.graph.grouping if isinstance(self._keys, MaskedKey) else None

    @property
    def _group_numbers(self) -> Sequence[int]:
        """Numbers of the groups of a round's models; -1 alone where there are none."""
        return (-1,) if self._grouping is None else tuple(range(self._grouping.count))

    def _group(self, round_number: int) -> int:
        """Return the number of this hospital's group in a round; -1: there are none."""
        if self._grouping is None:
            return -1
        return self._grouping.group_of(self._site, self._topics.roster, round_number=round_number)

    def _weight(self, patients: int | None) -> float:
        if self._job.federation.weighting == "equal" or self._job.encryption is None:
            return 1.0
        if patients is None or patients < 1:
            raise GateError("update says no number of patients where weighting is by patients")
        return patients / self._job.encryption.max_patients
