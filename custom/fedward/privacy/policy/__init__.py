"""Hold a job against a hospital's policy: may it run here, at what cost, and what has changed since the last one.

Reading order: ``canonical_job``, ``job_archive``, ``job_meta`` and ``job_hash`` (which job it is), ``linter``,
``agreement``, ``approvals``, ``job_cost``, ``job_summary``, ``job_diff``, ``review`` (of the policy itself).

Invariant: where job and policy differ, the stricter holds.
"""
