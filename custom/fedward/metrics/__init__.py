"""Record a job's events in one store that reports, dashboards and progress bars read.

Reading order: ``events`` (the kinds), ``record`` and ``event_writer`` (into the store), ``store``, ``schema``,
``queries``, ``catalogue`` and ``exporter`` (Prometheus).

Invariant: no event holds data of a single patient.
"""
