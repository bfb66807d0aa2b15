"""Run a hospital's side of a job.

Reading order: ``executor`` (FLARE's interface), ``site_job`` (the tasks), ``job_privacy`` (policy and ledger),
``own_files`` (what only the hospital reads), ``settlement`` (the end of a process).
"""
