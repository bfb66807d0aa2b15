"""The checks of a site, a file a subject.

Invariant: a check is a function of the context that yields findings; it changes nothing.
"""
