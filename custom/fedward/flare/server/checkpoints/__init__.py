"""Keep what a job needs after its server's process has ended, and go on from it.

Reading order: ``checkpoint`` (state after a whole round, on the disk), ``earlier`` (what processes before left).

Invariant: a model is used only if every byte of its checkpoint is the one that was written.
"""
