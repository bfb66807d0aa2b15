"""Examine a site or a server before anyone has to call: small checks, each with what to do when it fails.

Reading order: ``findings`` (what a check reports), ``context`` and ``server_context`` (what is examined), ``checks``
(their order), ``run``, ``report``; ``site/`` has a site's checks, ``probes/`` has requests that must be refused.

Invariant: a check that throws or takes too long has failed; no report has a secret or a name below a cohort's
folders.
"""
