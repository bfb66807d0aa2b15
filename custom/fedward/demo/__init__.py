"""Run ``fedward demo``: a whole federation on one machine, from DICOM to a report.

Reading order: ``run`` (from first folder to report), ``hospitals``, ``keys``, ``prepare``, ``federate``, ``progress``,
``report``; ``compare``, ``contribution`` and ``sweep`` take measures that are possible only in a demo.

Invariant: the demo owns every hospital's data, so it can do what no real federation may: pool them, and test each
hospital's own model at the others. Wherever it shows such a number, it states this.
"""
