"""Send requests and jobs for the doctor, to check that they are refused.

Reading order: ``outcome``, ``requests``, ``jobs``.
"""
