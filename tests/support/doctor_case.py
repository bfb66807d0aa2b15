"""A kit without certificates, and what a server might answer, for tests of the doctor's rooms."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fedward.doctor.context import Case
from fedward.doctor.findings import Finding
from fedward.flare.kits.expected import closed_kit
from fedward.provisioning.network.health import Hello

SITE, PORT = "north-clinic", 8102

POLICY = """
site = "north-clinic"
key = "site.key"
ledger = "ledger.db"
federation_key = "federation.key"
approved_jobs = []
approvals = "approvals"
disclosure = { metrics = ["scores"], decimals = 3, min_count = 5 }

[cohorts.chest]
images = "images"
index = "index"
max_quarantined_fraction = 0.1
validation_fraction = 0.3
privacy = { dp = "required", epsilon_cap = 8.0, delta = 1e-3, encryption = "required" }
"""


def write_kit(folder: Path, *, policy: str = POLICY) -> Path:
    """A kit as our builder writes it, but for certificates and keys."""
    for name, content in closed_kit("demo", SITE, "hospital", host="localhost", port=PORT).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "local" / "site.toml").write_text(policy, encoding="utf-8")
    return folder


def case_of(kit: Path, **options: Any) -> Case:
    return Case(kit=kit, site_toml=kit / "local" / "site.toml", **{"environment": {}, **options})


def change(path: Path, how: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    how(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def levels(found: Iterable[Finding]) -> set[str]:
    return {finding.level for finding in found}


def answer(**changed: Any) -> Hello:
    now = time.time()
    made: dict[str, Any] = {
        "server_time": now,
        "sent_at": now,
        "received_at": now,
        "fedward": "0.1.0",
        "flare": "2.9.0",
        "wheel": "0" * 64,
    }
    return Hello(**{**made, **changed})


def asked(reply: Hello) -> Callable[..., Hello]:
    """A server that always gives the same answer."""

    def ask(kit: Path, *, timeout_s: float, payload_bytes: int = 0) -> Hello:
        return reply

    return ask
