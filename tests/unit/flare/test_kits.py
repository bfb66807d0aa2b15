"""Kits: what FLARE's builders leave open is closed, in every kit."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from fedward.flare.kits import CLASS_ALLOW_LIST, Kits, provision
from fedward.settings import FederationSpec, read_federation


@pytest.fixture(scope="module")
def spec(root: Path) -> FederationSpec:
    return read_federation(root / "provisioning" / "federation.yml")


@pytest.fixture(scope="module")
def kits(spec: FederationSpec, tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return provision(spec, tmp_path_factory.mktemp("kits"))


def test_one_kit_for_each_participant_under_its_own_name(kits: Kits, spec: FederationSpec) -> None:
    for name, kit in {**kits.sites, **kits.people}.items():
        certificate = x509.load_pem_x509_certificate((kit / "startup" / "client.crt").read_bytes())
        assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == name
    assert set(kits.sites) == {hospital.site for hospital in spec.hospitals}


def test_no_role_may_send_code_or_run_a_shell_anywhere(kits: Kits) -> None:
    for kit in [kits.server, *kits.sites.values()]:
        rights = json.loads((kit / "local" / "authorization.json").read_text())["permissions"]
        assert set(rights) == {"project_admin", "org_admin", "lead", "member"}
        for role in rights.values():
            assert role["byoc"] == "none"
            assert role["shell_commands"] == "none"


def test_a_job_may_name_only_our_classes(kits: Kits) -> None:
    for kit in [kits.server, *kits.sites.values()]:
        resources = json.loads((kit / "local" / "resources.json").read_text())
        assert resources["class_list_enforcement_mode"] == "enforce"
        assert tuple(resources["class_allow_list"]) == CLASS_ALLOW_LIST == ("fedward.flare.",)


def test_a_site_streams_no_log_and_the_server_takes_none(kits: Kits) -> None:
    for kit in kits.sites.values():
        resources = json.loads((kit / "local" / "resources.json").read_text())
        assert resources["allow_log_streaming"] is False
        assert not [c for c in resources["components"] if "logging" in c["path"]]
    server = json.loads((kits.server / "local" / "resources.json").read_text())
    assert not [c for c in server["components"] if "logging" in c["path"]]


def test_every_connection_is_mutual_tls(kits: Kits) -> None:
    server = json.loads((kits.server / "startup" / "fed_server.json").read_text())
    assert server["servers"][0]["connection_security"] == "mtls"
    for kit in kits.sites.values():
        client = json.loads((kit / "startup" / "fed_client.json").read_text())
        assert client["client"]["connection_security"] == "mtls"


def test_private_keys_are_for_their_owner_alone_and_storage_stays_in_the_kit(kits: Kits) -> None:
    keys = list(kits.folder.rglob("*.key"))
    assert len(keys) == 1 + len(kits.sites) + len(kits.people)
    for key in keys:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "/tmp" not in (kits.server / "local" / "resources.json").read_text()
