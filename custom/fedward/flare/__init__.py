"""Run Fedward on NVIDIA FLARE 2.9: the only package that imports ``nvflare``.

Reading order: ``protocol`` (tasks and answers), ``job_context``, then ``site/`` and ``server/`` (the two sides of a
job), ``gates/`` (what enters and leaves a hospital), ``messages/`` and ``listener/`` (who may send what),
``job_checks/``, ``kits/``, ``console/``, ``probes/``. ``refusal`` holds everything that a hospital says when it
refuses.

Invariant: nothing leaves a hospital but through ``gates/egress``, and no text of an error leaves at all.
"""
