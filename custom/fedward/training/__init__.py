"""Train and validate one site's model.

Reading order: ``networks``, ``losses``, ``optimizers`` (by name), ``learner`` (one model), ``trainer`` (a site's
passes), ``scores``, ``results``; ``check`` (a job's faults, found without data);
``libraries`` (torch and MONAI, loaded beside the start of a job); ``dp_sgd/``.

Invariant: the same job, data and seed give the same weights, except for the noise of DP-SGD, which never repeats.
"""
