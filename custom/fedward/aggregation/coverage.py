"""Whether a round, and the job, reached whom it has to reach: sites, hospitals by name, patients.

A federated run that lost its largest hospital on the way looks like any other that went well. Here it does not: a round
that does not meet the policy does not count, and says why in words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from fedward.settings import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What makes a round count, as ``[federation]`` of the job says.

    Attributes:
        min_sites: fewest sites in it.
        must_include: sites that are all in it.
        min_patients: fewest training patients in it, over the sites that say how many; None: any number.
    """

    min_sites: int
    must_include: tuple[str, ...] = ()
    min_patients: int | None = None

    @classmethod
    def of(cls, job: JobSpec) -> Self:
        asked = job.federation
        return cls(min_sites=asked.min_sites, must_include=asked.must_include, min_patients=asked.min_patients)

    def missing(self, sites: Collection[str]) -> list[str]:
        """Hospitals of ``must_include`` that are not among ``sites``, names sorted."""
        return sorted(set(self.must_include) - set(sites))

    def plain(self) -> dict[str, object]:
        """JSON-ready, for the job's events."""
        return {
            "min_sites": self.min_sites,
            "must_include": list(self.must_include),
            "min_patients": self.min_patients,
        }


def judge(accepted: Mapping[str, int | None], policy: Coverage, *, why: Mapping[str, str] | None = None) -> str | None:
    """Why a round of these sites does not count, every reason at once; None where it counts.

    Args:
        accepted: site -> its training patients; None where the site does not say, which counts 0 towards
            ``min_patients``: what is not known covers nobody.
        policy: the job's.
        why: site -> why it is not among them, where that is known.
    """
    reasons = []
    if len(accepted) < policy.min_sites:
        reasons.append(f"{len(accepted)} sites where min_sites is {policy.min_sites}")
    if missing := policy.missing(accepted):
        reported = ", ".join(f"{site} ({(why or {}).get(site, 'no reason known')})" for site in missing)
        reasons.append(f"must_include names {reported}")
    if policy.min_patients is not None:
        patients = sum(reported for reported in accepted.values() if reported is not None)
        silent = sorted(site for site, reported in accepted.items() if reported is None)
        if patients < policy.min_patients:
            counted = f" (not told, and so counted 0, by {', '.join(silent)})" if silent else ""
            reasons.append(f"{patients} patients where min_patients is {policy.min_patients}{counted}")
    return "; ".join(reasons) or None
