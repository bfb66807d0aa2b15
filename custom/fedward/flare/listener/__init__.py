"""Guard the server's listening port: only TLS 1.3 with a certificate that is not revoked may connect.

Reading order: ``server_door`` (the whole), ``tls13``, ``grpc_driver``, ``interceptor``, ``connection_guard``
(revocation), ``health``, ``heartbeat``.
"""
