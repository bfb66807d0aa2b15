"""Compute the hash of a job, which a hospital approves; it computes the hash itself, from the settings it received."""

from __future__ import annotations

import hashlib
import json

from fedward.settings import JobSpec, SitePolicy, plain


def job_hash(job: JobSpec) -> str:
    """Compute SHA-256, in hex, of all the job's settings, defaults included, as canonical JSON.

    A hospital approves this hash. A release of Fedward that adds a setting changes it, and the job needs a new review.
    """
    return _hash(job)


def policy_hash(policy: SitePolicy) -> str:
    """Compute the same hash of a hospital's policy: an approval records the policy under which it was given."""
    return _hash(policy)


def _hash(settings: JobSpec | SitePolicy) -> str:
    text = json.dumps(plain(settings), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
