"""Turn a cohort manifest into the images that a job trains and validates on.

Reading order: ``manifest`` (one row an image), ``selection`` (the images that a job uses, and their side of the split),
``load``, ``prepare`` and ``transforms`` (a row -> a network's input), ``images`` (batches).

Invariant: all images of one patient are on one side of the split, now and after every new index.
"""
