"""Define ``fedward site <verb>``, for hospital IT and the privacy officer.

Reading order: ``app``, ``index``, ``policy``, ``approve``, ``ledger``, ``join``, ``doctor``, ``validate``, ``report``.
"""
