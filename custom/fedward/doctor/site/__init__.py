"""Check a site: one file per subject.

Invariant: a check is a function of the context that yields findings; it changes nothing.
"""
