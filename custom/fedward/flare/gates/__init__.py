"""A hospital's two gates: the ingress gate checks what the server sends, the egress gate what the hospital sends.

Reading order: ``gate`` (what both share), ``ingress``, ``egress``, ``update_check`` (an update against the ledger),
``secure_aggregation`` (what is sealed and opened), ``task_order``, ``stock_filters``.

Invariant: a gate fails closed: after the first error, no answer of that job leaves but one sentence of a closed table.
"""
