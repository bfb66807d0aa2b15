"""Run the server's side of a job.

Reading order: ``controller`` (the steps of a job), ``broadcast`` (one task to many sites), ``rounds`` (plain and
secure), ``finalization``, ``participation``, ``persistor``.

Invariant: the server trusts no answer: it checks every answer, and records each one that cannot count with the reason.
"""
