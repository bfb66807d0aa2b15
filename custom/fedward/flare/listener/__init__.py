"""The server's listening port: TLS 1.3 with a certificate that is not revoked, or no connection.

Reading order: ``server_door`` (all of it), ``tls13``, ``grpc_driver``, ``interceptor``, ``connection_guard``
(revocation), ``health``, ``heartbeat``.
"""
