"""Check a job against a hospital's policy: if it may run here, at what cost, and the changes since the last one.

Reading order: ``canonical_job``, ``job_archive``, ``job_meta`` and ``job_hash`` (identity of the job), ``linter``,
``agreement``, ``approvals``, ``job_cost``, ``job_summary``, ``job_diff``, ``review`` (of the policy itself).

Invariant: where job and policy differ, the stricter applies.
"""
