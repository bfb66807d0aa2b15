"""Run Fedward on NVIDIA FLARE 2.9: the only package that imports ``nvflare``.

Reading order: ``protocol`` (tasks and answers), ``job_context``, then ``site/`` and ``server/`` (the two sides of a
job), ``gates/`` (checks of all that enters and leaves a hospital), ``messages/`` and ``listener/`` (the messages that
each sender may send), ``job_checks/``, ``kits/``, ``console/``, ``probes/``. ``refusal`` chooses the sentence that a
hospital sends when it refuses.

Invariant: data leaves a hospital only through ``gates/egress``, and the text of an error never leaves it.
"""
