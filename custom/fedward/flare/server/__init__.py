"""The server's side of a job.

Reading order: ``controller`` (the job's course), ``broadcast`` (one task to many sites), ``rounds`` (plain and
secure), ``finalization``, ``participation``, ``persistor``.

Invariant: the server believes no answer: what comes in is checked, and what cannot count is written down with its
reason.
"""
