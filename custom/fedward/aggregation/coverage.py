"""Check that a round, and the job, covers enough sites, the required hospitals and enough patients.

Without this check, a run that lost its largest hospital looks like a run that went well. Here a round that does not
meet the policy does not count, and its reasons are given as text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from fedward.settings import JobSpec
from fedward.visible import first_of, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Conditions for a round to count, from the job's ``[federation]``.

    Attributes:
        min_sites: smallest number of sites in it.
        must_include: sites that must all be in it.
        min_patients: smallest number of training patients in it, over the sites that report theirs; None: any number.
    """

    min_sites: int
    must_include: tuple[str, ...] = ()
    min_patients: int | None = None

    @classmethod
    def of(cls, job: JobSpec) -> Self:
        asked = job.federation
        return cls(min_sites=asked.min_sites, must_include=asked.must_include, min_patients=asked.min_patients)

    def missing(self, sites: Collection[str]) -> list[str]:
        """Return the hospitals of ``must_include`` that are not in ``sites``, names sorted."""
        return sorted(set(self.must_include) - set(sites))

    def plain(self) -> dict[str, object]:
        """Return the conditions as JSON-ready data, for the job's events."""
        return {
            "min_sites": self.min_sites,
            "must_include": list(self.must_include),
            "min_patients": self.min_patients,
        }


def judge(accepted: Mapping[str, int | None], policy: Coverage, *, why: Mapping[str, str] | None = None) -> str | None:
    """Return all reasons why a round of these sites does not count; None if it counts.

    Args:
        accepted: site -> its training patients; None if the site does not report them: it then adds 0 to the count for
            ``min_patients``.
        policy: the job's.
        why: site -> reason why it is not among them, if known.
    """
    reasons = []
    if len(accepted) < policy.min_sites:
        others = {site: reason for site, reason in (why or {}).items() if site not in {*accepted, *policy.must_include}}
        reasons.append(f"{len(accepted)} sites where min_sites is {policy.min_sites}{_without(others)}")
    if missing := policy.missing(accepted):
        reported = ", ".join(f"{site} ({quoted((why or {}).get(site, 'no reason known'))})" for site in missing)
        reasons.append(f"must_include names {reported}")
    if policy.min_patients is not None:
        patients = sum(reported for reported in accepted.values() if reported is not None)
        silent = sorted(site for site, reported in accepted.items() if reported is None)
        if patients < policy.min_patients:
            counted = f" (not reported, and counted as 0, by {', '.join(silent)})" if silent else ""
            reasons.append(f"{patients} patients where min_patients is {policy.min_patients}{counted}")
    return "; ".join(reasons) or None


def _without(others: Mapping[str, str]) -> str:
    """Name the first of the sites that are not there, with their reasons, and count the rest; the events name all."""
    named = first_of([f"{site} ({quoted(reason)})" for site, reason in sorted(others.items())])
    return f", without {', '.join(named)}" if named else ""
