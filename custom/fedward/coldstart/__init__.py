"""Test a consortium's model at a hospital that took no part, and fine-tune it there when it fails.

Reading order: ``model`` (the file that the hospital received), ``measure`` (its result on the hospital's own labelled
patients), ``fine_tune``, ``validate`` (the whole test), ``report`` (the answer as text and JSON).

Invariant: nothing leaves the hospital, and no number is shown that covers fewer patients than the hospital's minimum
count.
"""
