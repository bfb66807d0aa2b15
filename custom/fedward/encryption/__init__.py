"""Compute the secure sum: hospitals encrypt bounded integers, the server adds them without a key, hospitals decrypt it.

Reading order: ``secure_sum`` (the protocol), ``sum_context`` and ``roster`` (identity of a sum and its run),
``fixed_point`` (weights as integers), ``schemes`` with ``stream``, ``bfv`` and ``ckks``, ``tag`` (proof of the sum),
``message`` (bytes); ``keys/`` holds the federation's key.

Invariant: without the key no hospital's numbers can be read, and a sum of fewer than three hospitals is neither made
nor opened. No nvflare.
"""
