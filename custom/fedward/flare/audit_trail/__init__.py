"""Record acts of FLARE's processes in the audit log of their kit: one call at each place where somebody acts.

Reading order: ``notes`` (the call), ``job_trail`` (a job's events at the server), ``sign_ins`` (sites at the server).
"""
