"""Protect patients: differential privacy, and every decision on what may leave a hospital.

Reading order: ``accountant`` (ε), ``clipping``, ``noise``, ``budget_plan``; ``incoming`` and ``outgoing`` (checks of
arrays), ``attestation`` (record of how an update was made); ``ledger/``, ``disclosure/``, ``policy/``.

Invariant: every check fails closed, and ε is never below what was spent. No nvflare.
"""
