"""Report one job at several ε: the cost of privacy in accuracy.

Reading order: ``sweep``, ``chart``, ``page``.
"""
