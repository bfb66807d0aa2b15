"""Define the context of each sum of an encrypted job; hospitals and server compute the same one.

Every context binds the run: its id, its job, and the nonces that its hospitals drew for it (``encryption.roster``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from fedward.encryption.sum_context import Purpose, SumContext
from fedward.privacy.ledger.runs import FinalModel
from fedward.privacy.sum_noise import sum_grid
from fedward.settings import JobSpec
from fedward.weights import Layout, parameter_count

INITIAL = "0" * 64
"""Identity of the initial model, in place of that of a sum: no hospital sent this model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SumContexts:
    """Sum contexts of one run.

    Attributes:
        job: a job with an ``[encryption]`` table.
        job_id: FLARE's id of the run.
        context: ``roster.context_of`` the run.
        layout: layout of the model.
        architecture: ``layout_hash`` of the model.
        bits: bits of a number, by the federation's key and the job's precision.
        trained: layout of the tensors that are trained, in a job with noise for the sum; else empty.
    """

    job: JobSpec
    job_id: str
    context: str
    layout: Layout
    architecture: str
    bits: int
    trained: Layout = field(default_factory=dict)

    def model(self, round_number: int, *, base: str, group: int = -1) -> SumContext:
        """Return the context of the sum of a round's models: each value of the model, and the weight last.

        With noise for the sum, the sum is of gradients: a number for each trained value, in units of the job's grid.

        Args:
            round_number: the round.
            base: identity of the sealed model that the round started from, or ``INITIAL``.
            group: of the hospitals that are summed; -1: all.
        """
        if self.job.noises_sum:
            layout, length = gradients_layout(self.job, self.trained, architecture=self.architecture)
        else:
            layout, length = self.architecture, parameter_count(self.layout) + 1
        return replace(self._topic("model", round_number, layout=layout, length=length, base=base), group=group)

    def counts(self, purpose: str, *, final: FinalModel | None) -> SumContext | None:
        """Return the context of a sum of score histograms of the model ``final`` only, or of cohort statistics.

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
        """Return the context of the hospitals' confirmations that they opened the sum of this identity; each adds 1."""
        return self._topic("confirm", 0, layout=identity, length=1)

    def _topic(
        self, purpose: Purpose, round_number: int, *, layout: str, length: int, base: str = INITIAL
    ) -> SumContext:
        return SumContext(
            job_id=self.job_id,
            purpose=purpose,
            round_number=round_number,
            layout=layout,
            context=self.context,
            length=length,
            bits=self.bits,
            base=base,
        )


def gradients_layout(job: JobSpec, trained: Layout, *, architecture: str) -> tuple[str, int]:
    """Return the layout of a job's sums of gradients, 64 hexadecimal digits, and their length."""
    length = parameter_count(trained)
    grid = sum_grid(job, values=length)
    words = f"gradients {architecture} {grid.norm_l2!r} {grid.steps} {' '.join(sorted(trained))}"
    return hashlib.sha256(words.encode("utf-8")).hexdigest(), length


KEY, SCHEME, CLIPPED, NONCE = "key", "scheme", "clipped", "nonce"
"""Entries of a site's ``sealed`` part besides messages."""
PUBLIC, STATEMENT, INTRODUCES, JOB_KEYS = "public", "statement", "introduces", "job keys"
"""Entries of a masked job: a site's public key for the run, its signature, whom it
introduces, and the job's key sealed to each site."""
STATE, AFTER_ROUNDS = "state", "after"
"""Entries with noise for the sum: digest of the model and optimizer from which a site's gradients are, and number of
rounds whose sums the site has."""
DRAWN = "drawn"
"""Entry of a masked job with a sparse graph: the site's ``seed`` and its ``signature``."""
SHARES = "shares "
"""Prefix of a sum's purpose: shares that take the masks off this sum."""
CERTIFICATE, SIGNATURE = "certificate", "signature "
"""Entry with the site's certificate in DER; prefix of a message's name, for the entry with its signature."""


def enough(confirming: Collection[str], summed: Collection[str]) -> bool:
    """True if more than two thirds of the hospitals in a sum have opened that sum and no other of its kind.

    Over all runs of a job, a hospital confirms one set of hospitals of a kind (``runs.Runs``). Guarantee: any linear
    combination of confirmed sums is zero or contains the contributions of at least three hospitals; of at least four,
    if it combines sums of two or more sets.

    Proof: let the sets S1 ... Sk have s1 ... sk members, of whom c1 ... ck confirmed; no hospital confirmed two sets. A
    hospital that confirmed Si cancels out of the result only if it is also in another Sj, which it did not confirm; Sj
    has sj - cj such hospitals. So at least the sum of 2 ci - si hospitals remain. Since 3 ci > 2 si, each of these
    terms is at least 2. If there is only one set, all of its three or more hospitals remain. It is not enough that sets
    differ by four or more hospitals: take all of seven hospitals, three of them, and three others. The first sum minus
    the two others is the contribution of the seventh hospital.
    """
    return 3 * len(set(confirming) & set(summed)) > 2 * len(set(summed))


OPENED = "opened"
"""Entry of a site's ``sealed`` part: ``digest`` of a model that the site opened."""
