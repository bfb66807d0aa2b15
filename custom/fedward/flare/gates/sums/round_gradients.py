"""Seal this hospital's noised gradients of a round, and make the model's step from the opened sum of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward.encryption.message import unpack
from fedward.encryption.secure_sum import Opened
from fedward.encryption.sum_context import SumContext
from fedward.encryption.sums import identity_of, sums_in
from fedward.errors import GateError, JobError, RepeatError
from fedward.flare.gates.sums.masked_key import MaskedKey
from fedward.flare.gates.sums.run_topics import RunTopics
from fedward.flare.gates.sums.sealed_sums import SealedSums
from fedward.flare.protocol import MODEL
from fedward.flare.secagg_context import AFTER_ROUNDS, STATE
from fedward.privacy.noise import SecureRandom
from fedward.privacy.sum_noise import check_ring, shares_of
from fedward.settings import JobSpec
from fedward.weights import Tensor, Weights, layout_of

if TYPE_CHECKING:
    from fedward.training.union.kept_union import KeptUnion


class RoundGradients:
    """Sums of gradients of one job with noise for the sum, at one hospital.

    Args:
        job: the job.
        topics: contexts of the run's sums.
        sums: seals and opens.
        kept: model and optimizer of this hospital.
    """

    def __init__(self, job: JobSpec, topics: RunTopics, sums: SealedSums, kept: KeptUnion) -> None:
        self._job, self._topics, self._sums, self._kept = job, topics, sums, kept

    @property
    def facts(self) -> dict[str, Any]:
        """Number of rounds whose sums this hospital has, for the server, which sends what it lacks."""
        return {AFTER_ROUNDS: self._kept.model.after}

    @property
    def layout(self) -> dict[str, Tensor]:
        """Names, dtypes and shapes of the trained tensors."""
        model = self._kept.model
        return layout_of({name: model.weights[name] for name in model.trained})

    @property
    def state(self) -> str:
        """Digest of the model and optimizer of this hospital; it binds every message of the next round."""
        return self._kept.digest

    def seal(
        self, units: NDArray[np.int64], *, noise_multiplier: float, round_number: int, base: str
    ) -> dict[str, Any]:
        """Add this hospital's share of the noise to its clipped sum, and seal the result.

        The share is drawn here, after all checks, so that no clipped sum passes without it.

        Args:
            units: clipped sum, int64 of shape (values,).
            noise_multiplier: σ that the ledger was charged with.
            round_number: the round.
            base: ``state`` of the model that the gradients are of.

        Returns:
            ``sealed`` part of a reply.

        Raises:
            JobError: gradients and noise do not fit into the numbers that are summed, or more hospitals take part than
                a sum has room for.
            EncryptionError: a number is out of range once noised.
            GateError: the gradients are of another model than this hospital's.
        """
        grid = check_ring(self._job, values=units.size, noise_multiplier=noise_multiplier)
        sites = len(self._topics.roster)
        if self._job.encryption is None or sites > self._job.encryption.max_sites:
            what, remedy = "more hospitals take part than encryption.max_sites", "raise it"
            raise JobError(what, where=self._job.job.name, value=sites, remedy=remedy)
        if self._kept.model.after != round_number or base != self.state:
            raise GateError(_ANOTHER)
        std = shares_of(self._job, sites=sites).std(grid, noise_multiplier)
        noise = SecureRandom().rounded_normal(units.size, std)  # refuses a deviation that is not positive
        if noise.dtype != np.int64 or noise.shape != units.shape or not noise.any():
            raise GateError("the share of the noise is not whole")
        sealed = self._sums.seal(MODEL, units + noise, self._topics.model(round_number, base=base))
        return {**sealed, STATE: self.state}

    def open(self, sealed: object, *, round_number: int, proof: object = None) -> tuple[Weights, str]:
        """Return the model after a round, made from the sums of that round and of those that this hospital missed.

        Args:
            sealed: sum of the round, after those of rounds before it, as received; sums that the model has are skipped.
            round_number: the round.
            proof: not used: gradients are not compared.

        Returns:
            The model, and the identity of the round's sum.

        Raises:
            EncryptionError: a sum is not the hospitals' sum, or is of another key, run or round.
            GateError: another sum of a round was opened before, a sum lacks more hospitals than the noise bears, or it
                is of gradients of another model than this hospital's.
            RepeatError: sums of rounds are missing; those that came are kept, and the next ones can follow.
        """
        sums, kept = sums_in(sealed), self._kept
        for one in sums:
            topic = unpack(one).topic
            number = topic.round_number
            if number != kept.model.after or number > round_number:
                continue
            if topic.base != self.state:
                raise GateError(_ANOTHER)
            opened, found = self._sums.open(one, self._topics.model(number, base=topic.base), check=self._check)
            kept.step(opened.codes, base=found)
        model, last = kept.model, identity_of(sums[-1])
        if model.after <= round_number:
            what = "sums of rounds are missing that this hospital has not had"
            raise RepeatError(what, value=f"{model.after} to {round_number}", remedy="wait for the next round")
        if model.after != round_number + 1 or model.base != last:
            raise GateError("model is not made from the sum of the round")
        return {name: array.copy() for name, array in model.weights.items()}, last

    def topic_of(self, purpose: str, base: object, *, round_number: int) -> SumContext | None:
        """Return the context of the sum of gradients that a request is about; None: it is about another sum."""
        return self._topics.model(round_number, base=base) if purpose == MODEL else None

    def help(self, keys: MaskedKey, purpose: str, content: object, topic: SumContext) -> bytes:
        """Return what a request about a sum of gradients asks for; errors as ``MaskedKey.help``."""
        return keys.help(content, topic, sketched=_nothing)

    def _check(self, opened: Opened) -> None:
        shares = shares_of(self._job, sites=len(self._topics.roster))
        if len(opened.sites) < shares.fewest:
            raise GateError("sum lacks the noise of more hospitals than the job allows", value=len(opened.sites))


_ANOTHER = "gradients are of another model than this hospital's"


def _nothing(nonces: Mapping[str, str]) -> None:
    """Add nothing for a check of sketches: gradients are not compared."""
