"""What each sum of an encrypted job is about, as hospitals and server both work it out.

Every topic binds the run: its id, its job, and the nonces that its hospitals drew for it (``encryption.roster``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from fedward.encryption.sum_context import Purpose, SumContext
from fedward.privacy.ledger.runs import FinalModel
from fedward.settings import JobSpec
from fedward.weights import Layout, parameter_count

INITIAL = "0" * 64
"""Stands for the identity of a sum where the model is the initial one, which no hospital sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SumContexts:
    """The topics of one run.

    Attributes:
        job: with an ``[encryption]`` table.
        job_id: FLARE's id of the run.
        context: ``roster.context_of`` the run.
        layout: of the model.
        architecture: ``layout_hash`` of the model.
        bits: of a number, by the federation's key and the job's precision.
    """

    job: JobSpec
    job_id: str
    context: str
    layout: Layout
    architecture: str
    bits: int

    def model(self, round_number: int) -> SumContext:
        """Of a round's models: each value of the model, and the weight last."""
        return self._topic("model", round_number, layout=self.architecture, length=parameter_count(self.layout) + 1)

    def counts(self, purpose: str, *, final: FinalModel | None) -> SumContext | None:
        """Of score histograms, which are those of ``final`` and of no other model, or of cohort statistics.

        Returns:
            None where the job has no such sum, or it has no final model yet to score.
        """
        from fedward.flare.summed_counts import counts_layout, counts_length

        if self.job.encryption is None or not self.job.encryption.statistics:
            return None
        if purpose == "cohort" and (numbers := counts_length(self.job, purpose)):
            return self._topic("cohort", 0, layout=counts_layout(self.job, purpose), length=numbers)
        if purpose == "scores" and final is not None and (numbers := counts_length(self.job, purpose)):
            layout = hashlib.sha256(f"{counts_layout(self.job, purpose)} {final.model}".encode("ascii")).hexdigest()
            return self._topic("scores", final.after, layout=layout, length=numbers)
        return None

    def confirmation(self, identity: str) -> SumContext:
        """Of hospitals' words that they have opened a sum: a one each, for the sum of that identity alone."""
        return self._topic("confirm", 0, layout=identity, length=1)

    def _topic(self, purpose: Purpose, round_number: int, *, layout: str, length: int) -> SumContext:
        return SumContext(
            job_id=self.job_id,
            purpose=purpose,
            round_number=round_number,
            layout=layout,
            context=self.context,
            length=length,
            bits=self.bits,
        )


KEY, SCHEME, CLIPPED, NONCE = "key", "scheme", "clipped", "nonce"
"""What stands in a site's ``sealed`` part beside messages."""


def enough(confirming: Collection[str], summed: Collection[str]) -> bool:
    """Whether more than two thirds of the hospitals in a sum have opened that sum and no other of its kind.

    Over all runs of a job a hospital gives its word on one set of hospitals of a kind (``runs.Runs``). Guarantee: from
    any number of sums that are confirmed so, whatever multiples of them are added and subtracted, comes nothing or
    what at least three hospitals sent; four, where sums of two or more sets are in it.

    Proof: let the sets S1 ... Sk have s1 ... sk members, of whom c1 ... ck gave their word; no hospital gave two. A
    hospital that gave its word on Si drops out of the result only where it is in another Sj, without its word there:
    of those there are sj - cj. So at least the sum of 2 ci - si hospitals are left, and with 3 ci > 2 si each of these
    is at least 2. One set alone leaves all of its three or more. That sets differ by four or more is not enough: of
    seven hospitals, three of them and other three, the first less the two is what the seventh sent.
    """
    return 3 * len(set(confirming) & set(summed)) > 2 * len(set(summed))


OPENED = "opened"
"""What a site's ``sealed`` part says of a model that it opened: ``digest`` of it."""
