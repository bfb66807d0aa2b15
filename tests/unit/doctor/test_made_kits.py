"""Check that the doctor passes every new kit, however it was made, and for each runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedward.doctor.checks import CHECKS
from fedward.doctor.run import examine
from fedward.flare.kits.central import provision
from fedward.flare.kits.distributed import approve, make_request, write_invitation
from fedward.flare.kits.join import join
from fedward.provisioning.invitation import LocalExtras
from fedward.provisioning.templates import render, resource_components
from fedward.settings import FederationSpec, Hospital, parse
from tests.support.doctor_case import case_of

OF_THE_OPERATOR = ("kit", "certificates", "side doors")
"""Rooms of what the operator or the join command wrote; the rest is the hospital's."""
RUNTIMES = ("systemd", "docker", "kubernetes")


def spec() -> FederationSpec:
    hospitals = [
        {"site": f"{runtime}-{template}", "organisation": "clinics", "template": template, "runtime": runtime}
        for runtime in RUNTIMES
        for template in ("clinic", "academic-centre")
    ]
    content = {
        "name": "trial",
        "server": {"host": "localhost", "port": 8102, "organisation": "operator"},
        "hospitals": hospitals,
        "people": [{"email": "lead@trial.org", "organisation": "operator", "role": "lead"}],
    }
    return parse(FederationSpec, content, where="trial")


def extras(templates: Path, hospital: Hospital) -> LocalExtras:
    return LocalExtras(
        render(templates, spec=spec(), hospital=hospital),
        resource_components(templates, spec=spec(), hospital=hospital),
    )


@pytest.fixture(scope="module")
def kits(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Kits by way and site."""
    folder, templates = tmp_path_factory.mktemp("kits"), root / "site_templates"
    every = {hospital.site: extras(templates, hospital) for hospital in spec().hospitals}
    central = provision(spec(), folder / "central", extras=every)
    made = {("central", site): kit for site, kit in central.sites.items()}
    out = folder / "distributed"
    provision(spec(), out, only=["localhost"])
    site = "kubernetes-clinic"
    invited = write_invitation(spec(), site, out, extras=every[site])
    requested = make_request(invited.path, folder / "request")
    approved = approve(requested.path, spec(), out, expect=requested.key)
    join(approved.path, folder / "request", folder / "kit", authority=invited.authority)
    return {**made, ("distributed", site): folder / "kit"}


def test_every_kit_is_sound_as_it_is_handed_over(kits: dict[tuple[str, str], Path]) -> None:
    checks = [check for check in CHECKS if check.room in OF_THE_OPERATOR]
    assert len(kits) == 7
    for way, kit in kits.items():
        heard = examine(case_of(kit), checks=checks)
        assert [finding for one in heard for finding in one.findings if finding.level != "pass"] == [], way
