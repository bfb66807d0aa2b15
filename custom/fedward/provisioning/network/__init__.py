"""Ask a server for its time and versions, over mutual TLS, and find out how far a site gets.

Reading order: ``connectivity``, ``health``.
"""
