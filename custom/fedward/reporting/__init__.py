"""Turn a job's events into a report, for people (HTML) and for scripts (JSON).

Reading order: ``data/`` (events -> dataclasses), ``charts/``, ``page`` and ``write``; ``sweep/`` and ``dossier/`` are
separate documents; ``examples`` adds images to a hospital's own copy; ``terminal``, ``result``, ``schema``.

Invariant: ``report.json`` is the only source of ``report.html``; a value that was not measured is null and is shown as
not measured.
"""
