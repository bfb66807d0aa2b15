"""Run the server's side of a job.

Reading order: ``controller`` (the steps of a job), ``admission``, ``asking`` (one task to many sites), ``rounds``
(plain and secure), ``finalization``, ``checkpoints`` (a job outlives its process), ``pause`` (a full disk),
``persistor``.

Invariant: the server trusts no answer: it checks every answer, and records each one that cannot count with the reason.
"""
