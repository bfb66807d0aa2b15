"""Combine the sites' updates into one step of the server's model, and judge whether a round counts.

Reading order: ``checks`` (of every aggregation's input), ``norm_bound`` (of each update), ``fedavg``, ``fednova`` (for
sites with different numbers of steps), ``median``, ``fedadam``, ``step`` (the job's choice of these), ``coverage`` (of
sites and patients), ``best`` (the model that is kept), ``free_rider`` (updates that no local training explains).

Invariant: the result does not depend on the order in which updates arrive: they are added in the order of the sites'
names. NumPy only.
"""
