"""DP-SGD by patient (Abadi et al. 2016, algorithm 1, with a patient in the place of an example).

Reading order: ``dp_sgd`` (the step), ``patient_sampler``, ``gradient_method`` (which of three ways),
``patient_gradients``, ``layer_gradients`` with ``layer_rules``, ``clipped_sum``, ``network_check``.

Invariant: no patient adds more than the clip norm to a step, measured on what is added and not on what should have
been.
"""
