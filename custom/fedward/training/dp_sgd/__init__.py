"""Train with DP-SGD by patient (Abadi et al. 2016, algorithm 1, with a patient in place of an example).

Reading order: ``dp_sgd`` (the step), ``patient_sampler``, ``gradient_method`` (choice of the method),
``patient_gradients``, ``layer_gradients`` with ``layer_rules``, ``clipped_sum``, ``network_check``.

Invariant: no patient adds more than the clip norm to a step. The norm is measured on the numbers that are added.
"""
