"""Define ``fedward job <verb>``, for the data scientist.

Reading order: ``app`` (check, export, submit, wait, download), ``plan``, ``sweep``, ``report``.
"""
