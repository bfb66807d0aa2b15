"""FLARE kits as FLARE makes them, and the certificates that an authority could make besides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from nvflare.lighter.utils import Identity as Named
from nvflare.lighter.utils import generate_cert, generate_keys

from fedward.encryption.keys.site_identity import Identity
from fedward.flare.kits.central import Kits, provision
from fedward.settings import FederationSpec, parse

SITES = ("north", "south", "west")
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def central_kits(out: Path) -> Kits:
    """A federation of three hospitals, provisioned by its operator."""
    content = {
        "name": "trial",
        "server": {"host": "localhost", "port": 8102, "organisation": "operator"},
        "hospitals": [{"site": site, "organisation": site} for site in SITES],
        "people": [{"email": "admin@trial.org", "organisation": "operator", "role": "project_admin"}],
    }
    return provision(parse(FederationSpec, content, where="trial"), out)


class Authority:
    """Operator who holds the authority's key of ``central_kits``."""

    def __init__(self, kits: Kits) -> None:
        state = kits.folder.parent / "state"
        self.certificate = x509.load_pem_x509_certificate((state / "rootCA.pem").read_bytes())
        self.key: Any = load_pem_private_key((state / "rootCA.key").read_bytes(), password=None)

    def issue(self, name: str, *, role: str | None = None, key: Any = None, **how: Any) -> tuple[x509.Certificate, Any]:
        """A certificate by FLARE's own function, and its private key."""
        key = key or generate_keys()[0]
        how = {"not_valid_before": NOW - DAY, "not_valid_after": NOW + DAY} | how
        issuer = self.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
        return generate_cert(
            Named(name, None if how.get("ca") else name, role), Named(issuer), self.key, key.public_key(), **how
        ), key

    def identity(self, like: Identity, name: str, **how: Any) -> Identity:
        """One who has such a certificate, in the federation of ``like``."""
        certificate, key = self.issue(name, **how)
        return replace(like, name=name, certificate=certificate, private_key=key)


_NVFLARE = """
import json, sys
from nvflare.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["nvflare", *arguments]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise
"""


def own_key_kits(folder: Path, sites: tuple[str, ...] = ("north", "south")) -> dict[str, Path]:
    """Kits whose private keys were made at their sites: ``nvflare cert init, request, approve`` and ``package``."""
    profile = {
        "name": "trial",
        "scheme": "grpc",
        "connection_security": "mtls",
        "server": {"host": "localhost", "fed_learn_port": 8102, "admin_port": 8102},
    }
    (folder / "profile.yml").write_text(json.dumps(profile))
    commands = [["cert", "init", "--profile", "profile.yml", "-o", "authority"]]
    for site in sites:
        participant = {"name": "trial", "participants": [{"name": site, "type": "client", "org": site}]}
        (folder / f"{site}.yml").write_text(json.dumps(participant))
        signed = f"{site}.signed.zip"
        request = f"{site}/{site}.request.zip"
        commands += [
            ["cert", "request", "-p", f"{site}.yml", "--out", site],
            ["cert", "approve", request, "-c", "authority", "--profile", "profile.yml", "--out", signed],
            ["package", signed, "-w", "kits", "--request-dir", site],
        ]
    subprocess.run(
        [sys.executable, "-c", _NVFLARE, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return {site: folder / "kits" / "trial" / "prod_00" / site for site in sites}
