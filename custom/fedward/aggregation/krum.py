"""Choose the updates that are near the others (multi-Krum; Blanchard et al. 2017, NeurIPS, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedward.errors import JobError


def multi_krum(distances: Mapping[tuple[str, str], float], sites: Sequence[str], *, malicious: int) -> tuple[str, ...]:
    """Return all sites but the ``malicious`` ones with the highest scores, names sorted.

    A site's score is the sum of its squared distances to its n - malicious - 2 nearest sites. Of equal scores the name
    decides.

    Args:
        distances: two sites, sorted -> Euclidean distance, infinite where it is unknown.
        sites: n sites.
        malicious: largest number of sites that send false updates.

    Raises:
        JobError: n is below 2 malicious + 3, with which Krum protects against nothing.
    """
    count = len(sites)
    if count < 2 * malicious + 3:
        raise JobError(
            f"updates of fewer than {2 * malicious + 3} sites cannot be compared where {malicious} may be false",
            where="aggregation",
            value=count,
            remedy="wait for more sites, or give a smaller federation.max_malicious",
        )
    scores = {}
    for site in sites:
        others = (distances[min(site, other), max(site, other)] for other in sites if other != site)
        scores[site] = sum(sorted(distance**2 for distance in others)[: count - malicious - 2])
    chosen = sorted(sites, key=lambda site: (scores[site], site))[: count - malicious]
    return tuple(sorted(chosen))
