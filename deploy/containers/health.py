"""Check that a kit's service works: the server's port answers TLS 1.3, or the site holds its connection to it.

For containers' health checks: standard library alone, exit 0 or 1 and one line. Run inside the service's own network
namespace, so that what is looked at is its own.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from pathlib import Path

TIMEOUT_S = 5.0
_ESTABLISHED = "01"


def main(kit: Path) -> int:
    """Check the kit's service and print the result."""
    startup = kit / "startup"
    server = startup / "fed_server.json"
    try:
        said = _server(startup, server) if server.is_file() else _site(startup / "fed_client.json")
    except (OSError, ValueError, KeyError) as error:
        print(f"unhealthy: {error}")
        return 1
    print(f"healthy: {said}")
    return 0


def _target(config: Path) -> tuple[str, int]:
    host, _, port = json.loads(config.read_bytes())["servers"][0]["service"]["target"].rpartition(":")
    return host, int(port)


def _server(startup: Path, config: Path) -> str:
    """Shake hands as the server's own certificate, and hold the answer to the federation's root."""
    name, port = _target(config)
    context = ssl.create_default_context(cafile=str(startup / "rootCA.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(startup / "server.crt", startup / "server.key")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        return f"port {port} answers {tls.version()}"


def _site(config: Path) -> str:
    """Find the site's standing connection to the server's port among this network namespace's own."""
    _, port = _target(config)
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.is_file():
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            _, _, remote, state = line.split()[:4]
            if state == _ESTABLISHED and int(remote.rpartition(":")[2], 16) == port:
                return f"connected to port {port}"
    raise ValueError(f"no connection to the server's port {port}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
