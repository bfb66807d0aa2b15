"""The secure sum: each hospital encrypts bounded integers, the server adds them without a key, hospitals open the sum.

Reading order: ``secure_sum`` (the protocol), ``sum_context`` and ``roster`` (which sum of which run), ``fixed_point``
(weights as integers), ``schemes`` with ``stream``, ``bfv`` and ``ckks``, ``tag`` (proof that it is a sum), ``message``
(bytes); ``keys/`` holds the federation's key.

Invariant: whoever lacks the key reads no hospital's numbers, and a sum of fewer than three hospitals is neither made
nor opened. No nvflare.
"""
