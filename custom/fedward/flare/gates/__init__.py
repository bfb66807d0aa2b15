"""Check a hospital's messages: the ingress gate checks those from the server, the egress gate those from the hospital.

Reading order: ``gate`` (state of both), ``ingress``, ``egress``, ``update_check`` (an update against the ledger),
``secure_aggregation`` (sealing and opening), ``task_order``, ``stock_filters``.

Invariant: a gate fails closed: after the first error, only one sentence of a closed table leaves, and no other answer
of that job. A disk in the way of the ledger, a spent budget, or a repeat too many ends one task alone.
"""
