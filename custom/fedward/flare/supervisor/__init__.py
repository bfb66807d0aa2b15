"""Keep a job going while processes die: start them again, bring sites back, and tell one true end.

Reading order: ``launcher`` (a job's process that was killed starts again), ``single_process`` (one process per job),
``reactions`` and ``job_reactions`` (FLARE's own reactions to a lost process, replaced), ``waits``; at the server
``supervisor`` (jobs that a dead server left: ``held_job``; sites that came back: ``seat``), ``site_start``,
``job_end`` (the one end of a job) and ``resume`` (a person has an ended job taken up again); at a site ``left_open``
(the charge of a process that is gone).

Everything that this package changes in FLARE is in the table of ``reactions``; a test fails when FLARE changes it.
"""
