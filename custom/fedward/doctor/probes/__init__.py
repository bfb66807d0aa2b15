"""Send harmless requests that must be refused, to a server and to a site, and judge the answers.

Reading order: ``judgement``, ``server``, ``site``.

Invariant: silence alone proves nothing: every set of probes has a control that must be answered.
"""
