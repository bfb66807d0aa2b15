"""Combine the sites' updates into one step of the server's model, and judge whether a round counts.

Reading order: ``checks`` (what every aggregation asks of its input), ``fedavg``, ``median``, ``fedadam``, ``step``
(which of them a job uses), ``coverage`` (whether enough sites took part), ``best`` (which round's model is kept),
``free_rider`` (updates that no local training explains).

Invariant: the result does not depend on the order in which updates came: they are added in the order of the sites'
names. NumPy only.
"""
