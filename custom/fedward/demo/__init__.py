"""``fedward demo``: a whole federation on one machine, from DICOM to a report.

Reading order: ``run`` (from first folder to report), ``hospitals``, ``keys``, ``prepare``, ``federate``, ``progress``,
``report``; ``compare``, ``contribution`` and ``sweep`` measure what only a demo can.

Invariant: the demo owns every hospital's data, so it can do what no real federation may: pool them, and test each
hospital's own model at the others. It says so wherever it shows such a number.
"""
