"""Leave out updates whose norm no honest site's has: poison that is scaled up to outweigh the others. NumPy only.

A site that wants its own model as the mean sends its update times the number of sites (Bagdasaryan et al. 2020, "How to
backdoor federated learning", section 4.2). Sun et al. 2019 ("Can you really backdoor federated learning?", section 4)
bound the norm of every update. They clip; here an update above the bound is left out: clipped poison still has the
weight of an honest site, and its site would still count for the coverage of the round. The bound is a multiple of a
median, so that no job has to guess a norm.

Guarantee: while fewer than half of a round's sites are wrong and one of three or more, no update counts that is longer
than ``ratio`` times (in a job by epochs at most ``MOST_PATIENTS · ratio`` times) the longest honest one of the round or
of the rounds before. The result depends on the sites' norms alone, not on the order in which they arrive.

Not detected: an update of honest length in a wrong direction, such as one with its sign changed. In two rounds or more,
``free_rider`` may flag it; ``median`` bounds what it can do. A site that grows its updates slowly is not detected
either, but it moves the reference only together with half of the sites. In an encrypted job the server sees no norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedward.weights import Weights, l2_norm

KEPT = 5
"""Rounds whose reference is remembered."""
ENOUGH = 3
"""Sites among which a majority says which norm is usual; with two sites the rounds before decide, with them."""
MOST_PATIENTS = 10.0
"""Largest factor that a site is allowed for more patients, where a round is passes over them: the number is the site's
own word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Bound of one round.

    Attributes:
        left_out: site -> reason, for the updates that do not count.
        reference: norm that is usual in this round; None where all updates are zero.
    """

    left_out: Mapping[str, str]
    reference: float | None


def update_norm(update: Weights) -> float:
    """Compute the L2 norm over the floating tensors of an update; counters in integer tensors are no part of it."""
    return l2_norm(array for array in update.values() if array.dtype.kind == "f")


def bound_norms(
    norms: Mapping[str, float],
    *,
    ratio: float,
    history: Sequence[float] = (),
    allowances: Mapping[str, float] | None = None,
) -> Bound:
    """Return the updates of a round that are too long to count, with the reason.

    The reference is the larger of two: the low median of the round's norms, and the median of those of the last rounds.
    The low median is one site's own norm, with as many sites below it as above or one fewer. Norms of 0 are left aside:
    they say nothing about the length of an update. In a first round of fewer than three sites there is no reference and
    no bound, since nobody can say which of two is usual.

    Args:
        norms: site -> ``update_norm`` of its update, divided by its local steps where these differ.
        ratio: multiple of the reference up to which an update counts, above 1.
        history: references of the rounds before, the last one last; only the last ``KEPT`` are used.
        allowances: site -> factor, 1 or more, by which its update may be longer; see ``patient_allowances``.
    """
    above_0 = sorted(norm for norm in norms.values() if norm > 0)
    usual = above_0[(len(above_0) - 1) // 2] if above_0 else None
    before = float(np.median(history[-KEPT:])) if history else None
    known = [] if before is None else [before]
    if usual is not None and (len(above_0) >= ENOUGH or (before is not None and len(above_0) > 1)):
        known.append(usual)
    if not known:
        return Bound(left_out={}, reference=usual)
    reference, allowed = max(known), allowances or {}
    left_out = {}
    for site in sorted(norms):
        norm, most = norms[site], ratio * reference * allowed.get(site, 1.0)
        if not norm <= most:
            said = f"norm {norm:.3g} where {reference:.3g} is usual and at most {most:.3g} counts"
            left_out[site] = f"update is too long to count: {said}"
    return Bound(left_out=left_out, reference=usual)


def patient_allowances(patients: Mapping[str, int]) -> dict[str, float]:
    """Return the factors by which updates may differ where sites pass over all their patients in each round.

    A site of more patients takes more steps, and its update is longer, up to as many times. The factor is the site's
    patients in units of the low median, from 1 to ``MOST_PATIENTS``.

    Args:
        patients: site -> its training patients; sites that do not report theirs are left out, and have no allowance.
    """
    known = sorted(count for count in patients.values() if count > 0)
    if not known:
        return {}
    usual = known[(len(known) - 1) // 2]
    return {site: min(max(count / usual, 1.0), MOST_PATIENTS) for site, count in patients.items()}
