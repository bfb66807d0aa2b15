"""Compute statistics over all hospitals' patients from sums of counts: the server reads no hospital's own counts.

Reading order: ``pooled``, ``cohort_statistics``, ``disclosed``.
"""
