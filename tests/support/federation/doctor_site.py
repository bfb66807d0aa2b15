"""A healthy hospital for the doctor: a kit, a policy, keys, a ledger and an indexed cohort, made to be copied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from fedward.doctor.findings import Finding
from fedward.doctor.run import Heard
from fedward.encryption.keys.key import create_key
from fedward.encryption.keys.key_file import write_key
from fedward.indexing.index import index_cohort
from fedward.indexing.site_key import load_key
from fedward.privacy.ledger.ledger import Ledger
from fedward.settings import read_site

NAME, COHORT = HOSPITALS[0].site, "chest"

_POLICY = """
site = "{site}"
key = "site.key"
ledger = "ledger.db"
federation_key = "federation.key"
federation_key_id = "{key_id}"
approved_jobs = []
disclosure = {{ metrics = ["scores", "support"], decimals = 3, min_count = 5 }}

[[auto_approve]]
submitter = "lead@demo.org"

[cohorts.chest]
images = "../../data/{site}/dicom"
labels = "../../data/{site}/labels.csv"
index = "../../index"
max_quarantined_fraction = 0.1
validation_fraction = 0.3
privacy = {{ dp = "required", epsilon_cap = 8.0, delta = 1e-3, encryption = "required" }}
"""


@dataclass(frozen=True)
class Site:
    """One hospital's folder: ``kit``, ``data``, ``index``."""

    folder: Path

    @property
    def kit(self) -> Path:
        return self.folder / "kit"

    @property
    def policy(self) -> Path:
        return self.kit / "local" / "site.toml"

    @property
    def images(self) -> Path:
        return self.folder / "data" / NAME / "dicom"

    def say(self, before: str, after: str) -> None:
        """Change a line of the policy."""
        text = self.policy.read_text(encoding="utf-8")
        assert before in text, before
        self.policy.write_text(text.replace(before, after), encoding="utf-8")

    def change(self, name: str, how: Callable[[Any], None]) -> None:
        """Change one of the kit's JSON files."""
        path = self.kit / name
        content = json.loads(path.read_text(encoding="utf-8"))
        how(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    def index(self) -> None:
        index_cohort(read_site(self.policy), COHORT, workers=0)

    def copy(self, to: Path) -> Site:
        """A copy elsewhere, indexed where it stands; its images are not read again."""
        shutil.copytree(self.folder, to, symlinks=True)
        copy = Site(to)
        copy.index()
        return copy


def healthy(kit: Path, folder: Path, *, images: int = 24) -> Site:
    """Everything that a hospital has, around a copy of its kit."""
    write_cohort(
        folder / "data", label="lesion", masks=False, hospitals=[replace(HOSPITALS[0], images=images, faults=())]
    )
    shutil.copytree(kit, folder / "kit")
    site = Site(folder)
    key = create_key()
    write_key(key, site.kit / "local" / "federation.key")
    site.policy.unlink(missing_ok=True)
    site.policy.write_text(_POLICY.format(site=NAME, key_id=key.key_id), encoding="utf-8")
    policy = read_site(site.policy)
    Ledger.create(policy.ledger, site=NAME, key=load_key(policy.key).secret)
    site.index()
    return site


def said(heard: tuple[Heard, ...], *levels: str) -> dict[str, list[Finding]]:
    """Findings of these levels by check."""
    found: dict[str, list[Finding]] = {}
    for one in heard:
        for finding in one.findings:
            if finding.level in levels:
                found.setdefault(finding.check, []).append(finding)
    return found
