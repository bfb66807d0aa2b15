"""Serve the metrics store as web pages, JSON and Prometheus metrics: one process that outlives the jobs.

Reading order: ``store_handle`` (the store, which may come later than the service), ``series`` and ``api`` (store ->
JSON), ``app`` (addresses), ``stream`` (server-sent events), ``access`` and ``headers`` (who may look), ``serve``,
``background``.

Invariant: it reads the store and never writes it, and beyond loopback it answers nobody without the token and TLS. No
torch, no nvflare.
"""
