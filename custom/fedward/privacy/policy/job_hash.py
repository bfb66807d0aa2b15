"""What a hospital approves: a job's hash. The hospital computes it itself, from the settings that reached it."""

from __future__ import annotations

import hashlib
import json

from fedward.settings import JobSpec, SitePolicy, plain


def job_hash(job: JobSpec) -> str:
    """SHA-256, in hex, of all the job's settings, defaults included, as canonical JSON.

    It is what a hospital approves. A release of Fedward that adds a setting changes it, and the job is looked at again.
    """
    return _hash(job)


def policy_hash(policy: SitePolicy) -> str:
    """The same of a hospital's policy: an approval says under which one it was given."""
    return _hash(policy)


def _hash(settings: JobSpec | SitePolicy) -> str:
    text = json.dumps(plain(settings), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
