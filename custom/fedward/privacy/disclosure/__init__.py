"""Decide which numbers may leave a hospital: its list of metrics, rounding, minimum counts, suppression.

Reading order: ``metric_registry`` (every metric that has a name), ``rule`` (one hospital's settings), ``release`` (the
decision), ``suppression``, ``subgroups``, ``reliability``, ``profile``, ``withheld``; ``received`` is the server's
check.

Invariant: a metric that is not in the registry never leaves.
"""
