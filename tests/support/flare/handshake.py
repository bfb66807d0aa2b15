"""Run a TLS handshake between two kits, in memory, by Python's ssl module: each end accepts or refuses the other."""

from __future__ import annotations

import ssl
from pathlib import Path


def handshake(server: Path, client: Path, *, crl: Path | None = None, host: str = "localhost") -> int:
    """Return the serial number of the client's certificate as the server saw it.

    Args:
        server, client: kits.
        crl: a revocation list that the server goes by.

    Raises:
        ssl.SSLError: one end refuses the other.
    """
    near = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    near.minimum_version = ssl.TLSVersion.TLSv1_3
    near.verify_mode = ssl.CERT_REQUIRED
    near.load_cert_chain(server / "startup" / "server.crt", server / "startup" / "server.key")
    near.load_verify_locations(server / "startup" / "rootCA.pem")
    if crl is not None:
        near.load_verify_locations(crl)
        near.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    far = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    far.load_cert_chain(client / "startup" / "client.crt", client / "startup" / "client.key")
    far.load_verify_locations(client / "startup" / "rootCA.pem")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [far.wrap_bio(down, up, server_hostname=host), near.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    seen = ends[1].getpeercert()
    if not seen:
        raise ssl.SSLError("handshake does not end")
    return int(str(seen["serialNumber"]), 16)
