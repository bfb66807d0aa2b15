"""Define ``fedward federation <verb>``, for the federation's operator.

Reading order: ``app``, ``members``, ``upkeep``, ``doctor``.
"""
