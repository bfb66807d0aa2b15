"""Differential privacy, and everything that decides what may leave a hospital.

Reading order: ``accountant`` (ε), ``clipping``, ``noise``, ``budget_plan``; ``incoming`` and ``outgoing`` (checks of
arrays), ``attestation`` (how an update was made); ``ledger/``, ``disclosure/``, ``policy/``.

Invariant: every check fails closed, and ε is never below what was spent. No nvflare.
"""
