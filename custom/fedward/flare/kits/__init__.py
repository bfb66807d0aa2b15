"""Startup kits: made by the operator or by each hospital, hardened, renewed, compared with what they should be.

Reading order: ``central`` and ``distributed`` (the two ways), ``join``, ``renew``, ``authority``, ``hardening``,
``permissions``, ``expected``, ``nvflare_cli``.

Invariant: a kit is written hardened or not at all.
"""
