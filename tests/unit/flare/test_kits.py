"""Kits: what FLARE's builders leave open is closed, in every kit."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from nvflare.apis.fl_constant import FilterKey, FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace
from nvflare.private.fed.app.fl_conf import create_privacy_manager

from fedward.flare.egress import EgressGate, require_gates
from fedward.flare.ingress import IngressGate
from fedward.flare.kits import CLASS_ALLOW_LIST, SCOPE, Kits, provision
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
            for right in ("shell_commands", "configure_job_log", "configure_site_log", "report_env", "call"):
                assert role[right] == "none"
            assert "get_job_log" not in role


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


def test_every_site_has_one_privacy_scope_with_both_gates_and_the_server_has_none(kits: Kits) -> None:
    for kit in kits.sites.values():
        privacy = json.loads((kit / "local" / "privacy.json").read_text())
        assert [scope["name"] for scope in privacy["scopes"]] == [privacy["default_scope"]] == [SCOPE]
        scope = privacy["scopes"][0]
        assert scope["task_data_filters"] == [{"path": "fedward.flare.ingress.IngressGate", "args": {}}]
        assert scope["task_result_filters"] == [{"path": "fedward.flare.egress.EgressGate", "args": {}}]
    assert not (kits.server / "local" / "privacy.json").exists()


def test_flare_builds_the_gates_from_the_kit_and_knows_no_other_scope(kits: Kits) -> None:
    site, kit = next(iter(kits.sites.items()))
    workspace = Workspace(str(kit), site)
    manager = create_privacy_manager(workspace, names_only=False)
    for name in (None, "", SCOPE):
        scope = manager.get_scope(name)
        assert [type(gate) for gate in scope.task_data_filters[FilterKey.IN]] == [IngressGate]
        assert [type(gate) for gate in scope.task_result_filters[FilterKey.OUT]] == [EgressGate]
        assert not scope.task_data_filters[FilterKey.OUT] and not scope.task_result_filters[FilterKey.IN]
    assert manager.get_scope("lax") is None
    context = FLContext()
    context.set_prop(FLContextKey.SCOPE_OBJECT, manager.get_scope(""), private=True)
    require_gates(context)


def test_a_site_has_no_component_that_sends_anything_of_its_own(kits: Kits) -> None:
    """No streamer, no sender of analytics or events: only FLARE's own managers of resources and consumption."""
    for kit in kits.sites.values():
        resources = json.loads((kit / "local" / "resources.json").read_text())
        assert {component["id"] for component in resources["components"]} == {
            "resource_manager",
            "resource_consumer",
            "process_launcher",
        }


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
