"""Keep the audit log of a server, a hospital or an operator: who did what and when, in a chain of lines.

Reading order: ``actions`` (the closed lists), ``entry`` (one line), ``keys``, ``head``, ``anchor``, ``files``,
``folder``, ``verify``, ``log`` (the writer), ``expiry``, ``place`` (which log belongs to a kit or a site.toml),
``note`` (one call for those who act).

Invariant: no entry names a patient, every text of another participant is escaped and bounded, and an act that lets
something leave a hospital is refused where it cannot be recorded.
"""
