"""The server's listening port: TLS 1.3, certificates, revocation, health."""
