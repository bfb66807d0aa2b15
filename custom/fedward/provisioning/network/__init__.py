"""Ask a server for its time and versions, over mutual TLS, and find where a site's connection fails.

Reading order: ``connectivity``, ``health``.
"""
