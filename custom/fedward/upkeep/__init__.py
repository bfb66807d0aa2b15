"""Keep a kit small, and bring it to a new version: remove what ended jobs left, apply the operator's signed updates.

Nothing here imports FLARE. A change of a kit is decided by one rename: before it, the kit is put back as it was; after
it, the rest is finished, by the next command if need be.
"""
