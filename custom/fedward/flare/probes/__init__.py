"""Requests and jobs that the doctor sends to see that they are refused.

Reading order: ``outcome``, ``requests``, ``jobs``.
"""
