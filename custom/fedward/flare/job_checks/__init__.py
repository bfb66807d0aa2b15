"""Check a job before any process of it starts, at the server and again at the site.

Reading order: ``form``, ``server``, ``site``.
"""
