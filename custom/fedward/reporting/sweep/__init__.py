"""One job at several ε: what privacy costs in accuracy.

Reading order: ``sweep``, ``chart``, ``page``.
"""
