"""Measure a model at a site, each number with its counts of patients and images.

Reading order: ``predictions``, ``scores``, ``ranking``, ``segmentation``, ``bootstrap`` (intervals), ``calibration``,
``curves``, ``operating_point``, ``subgroups``, ``profile``, ``sample_size``, ``acceptance``; ``comparison/``,
``pooling/``.

Invariant: a value that cannot be computed is None, never 0.
"""
