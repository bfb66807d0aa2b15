"""Make startup kits, at the operator or at each hospital; harden, renew and compare them with the expected kit.

Reading order: ``central`` and ``distributed`` (the two ways), ``join``, ``renew``, ``authority``, ``hardening``,
``permissions``, ``expected``, ``nvflare_cli``.

Invariant: a kit is written hardened or not at all.
"""
