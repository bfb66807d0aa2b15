"""Ask many sites one task, and decide how long to wait for whom.

Reading order: ``broadcast`` (sends, and collects the answers), ``waiting`` (for whom, and until when), ``stragglers``
(slow sites), ``late_answers``, ``held_requests`` and ``pacing`` (how a site comes to its next task).
"""
