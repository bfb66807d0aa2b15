"""Examine a site or a server before anyone has to call: small checks, each with what to do when it fails.

Reading order: ``findings`` (what a check reports), ``context`` and ``server_context`` (what is examined), ``checks``
(their order), ``run``, ``report``; ``site/`` holds a site's checks, ``probes/`` requests that must be refused.

Invariant: a check that throws or takes too long has failed; no report holds a secret or a name below a cohort's
folders.
"""
