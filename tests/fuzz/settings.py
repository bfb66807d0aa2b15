"""Settings files: job.toml, site.toml, federation.yml, upkeep.toml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedward.settings import read_federation, read_job, read_retention, read_site
from tests.fuzz.child import Target, main

_ROOT = Path(__file__).resolve().parents[2]


def _target(folder: Path, name: str, read: Callable[[Path], object], corpus: list[bytes]) -> Target:
    path = folder / name

    def given(content: bytes) -> None:
        path.write_bytes(content)
        read(path)

    return Target(corpus, given, private=())


def job(folder: Path) -> Target:
    return _target(folder, "job.toml", read_job, [one.read_bytes() for one in sorted(_ROOT.glob("jobs/*/job.toml"))])


def site(folder: Path) -> Target:
    return _target(folder, "site.toml", read_site, [_SITE, _TABLES])


def federation(folder: Path) -> Target:
    return _target(folder, "federation.yml", read_federation, [_FLOW, _BLOCKS])


def upkeep(folder: Path) -> Target:
    return _target(folder, "upkeep.toml", read_retention, [b"keep_days = 30\nkeep_jobs = 3\nmax_gb = 1.5\n"])


_SITE = b"""site = "north-clinic"
key = "key"
federation_key = "federation.key"
ledger = "ledger.db"
approved_jobs = ["%s"]
approvals = "approvals"
disclosure = { metrics = ["scores", "work"], decimals = 3, min_count = 5 }
[cohorts.chest]
images = "images"
labels = "labels.csv"
masks = "masks"
index = "index"
modalities = ["CR", "DX"]
require = ["lesion", "mask"]
max_quarantined_fraction = 0.1
validation_fraction = 0.3
privacy = { dp = "required", epsilon_cap = 8.0, delta = 1e-5, encryption = "required" }
""" % (b"a" * 64)
_TABLES = _SITE.replace(
    b"[cohorts.chest]",
    b"""[cohorts.archive]
index = "two"
images = "fetched"
max_quarantined_fraction = 0.5
validation_fraction = 0.25
[cohorts.archive.privacy]
dp = "not-required"
encryption = "not-required"
[cohorts.chest]""",
)
_FLOW = b"""name: fedward
server: {host: localhost, port: 8102, organisation: operator}  # the operator's
hospitals:
  - {site: north-clinic, organisation: north_clinic, host: fl.north.example, template: clinic, runtime: docker}
people:
  - {email: operator@fedward.org, organisation: operator, role: project_admin}
"""
_BLOCKS = b"""name: fedward
server:
  host: fl.example.org
  port: 8102
  organisation: operator
hospitals:
  - site: north-clinic
    organisation: north_clinic
    host: &host fl.north.example
    template: clinic
    runtime: systemd
people:
  - email: operator@fedward.org
    organisation: operator
    role: project_admin
"""

if __name__ == "__main__":
    main({"job": job, "site": site, "federation": federation, "upkeep": upkeep})
