"""A job's scores as one tidy table, and its copies for other tools.

``table`` makes the rows, ``files`` writes CSV and Parquet, ``trackers`` writes for TensorBoard and MLflow, ``plot``
draws for a notebook. Of a job that ran, every number is one that the hospitals released; what their policies withhold
has no row.
"""
