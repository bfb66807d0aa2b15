"""Serve the metrics store as web pages, JSON and Prometheus metrics: one process that outlives the jobs.

Reading order: ``store_handle`` (the store, which may appear after the service starts), ``series`` and ``api`` (store ->
JSON), ``app`` (addresses), ``stream`` (server-sent events), ``access`` and ``headers`` (access control), ``serve``,
``background``.

Invariant: it reads the store and never writes it, and beyond loopback it answers only requests with the token, over
TLS. No torch, no nvflare.
"""
