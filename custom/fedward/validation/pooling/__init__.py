"""Statistics over all hospitals' patients, from sums of counts: the server reads no hospital's own.

Reading order: ``pooled``, ``cohort_statistics``, ``disclosed``.
"""
