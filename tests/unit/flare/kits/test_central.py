"""Check that every kit closes what FLARE's builders leave open."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from nvflare.apis.fl_constant import FilterKey, FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.fl_exception import UnsafeComponentError
from nvflare.apis.workspace import Workspace
from nvflare.app_common.widgets.component_path_authorizer import ComponentPathAuthorizer
from nvflare.fuel.utils.class_loader import load_class
from nvflare.private.fed.app.fl_conf import create_privacy_manager

from fedward.encryption.keys.site_identity import read_identity
from fedward.errors import FederationError
from fedward.flare.gates.egress import EgressGate, require_gates
from fedward.flare.gates.ingress import IngressGate
from fedward.flare.kits.central import Kits, provision
from fedward.flare.kits.hardening import require_hardened
from fedward.flare.kits.permissions import AUTHORIZATION, CLASS_ALLOW_LIST, SCOPE
from fedward.flare.listener.job_scheduler import WaitingScheduler
from fedward.flare.listener.tls13 import CIPHERS
from fedward.provisioning.authority import read_pem
from fedward.provisioning.crl import CRL_FILE, Revocations, crl_content, parse_crl
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.invitation import LocalExtras, local_name
from fedward.provisioning.participants import Kind
from fedward.provisioning.stamp import package_hash, read_stamp
from fedward.settings import FederationSpec, parse, read_federation

pytestmark = pytest.mark.slow


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
    closed = ("byoc", "shell_commands", "configure_job_log", "configure_site_log", "report_env", "call", "show_errors")
    for kit in [kits.server, *kits.sites.values()]:
        rights = json.loads((kit / "local" / "authorization.json").read_text())["permissions"]
        assert set(rights) == {"project_admin", "org_admin", "lead", "member"}
        for role in rights.values():
            assert {right: role[right] for right in closed} == dict.fromkeys(closed, "none")


def test_a_lead_reads_the_logs_of_their_own_jobs(kits: Kits) -> None:
    rights = json.loads((kits.server / "local" / "authorization.json").read_text())["permissions"]
    right = {role: rights[role]["get_job_log"] for role in rights}
    assert right == {"project_admin": "any", "org_admin": "o:submitter", "lead": "n:submitter", "member": "none"}


def test_a_job_may_name_only_our_classes(kits: Kits) -> None:
    for kit in [kits.server, *kits.sites.values()]:
        resources = json.loads((kit / "local" / "resources.json").read_text())
        assert resources["class_list_enforcement_mode"] == "enforce"
        assert (
            tuple(resources["class_allow_list"])
            == CLASS_ALLOW_LIST
            == (
                "fedward.flare.site.executor.HospitalExecutor",
                "fedward.flare.server.controller.FederatedRounds",
                "fedward.flare.server.persistor.ModelStore",
            )
        )


def visible() -> Iterator[str]:
    """Every callable that FLARE's builder reaches by a path below ``fedward.flare``, imports and private ones too."""
    package = importlib.import_module("fedward.flare")
    for found in pkgutil.walk_packages(package.__path__, "fedward.flare."):
        module = importlib.import_module(found.name)
        yield from (f"{found.name}.{name}" for name, value in vars(module).items() if callable(value))


def test_flare_builds_three_callables_of_ours_and_no_other(kits: Kits) -> None:
    """FLARE's own authorizer with a kit's own resources, for each callable and each way to name one."""
    authorizer = ComponentPathAuthorizer()
    paths = set(visible())
    assert len(paths) > 300
    for kit in (kits.server, next(iter(kits.sites.values()))):
        workspace = Workspace(str(kit), "server" if kit == kits.server else kit.name)

        def allowed(config: dict[str, object], workspace: Workspace = workspace) -> bool:
            try:
                authorizer.authorize_component_config(config, workspace=workspace)
            except UnsafeComponentError:
                return False
            return True

        for key in ("path", "class_path"):
            assert {path for path in paths if allowed({key: path})} == set(CLASS_ALLOW_LIST)
        for path in CLASS_ALLOW_LIST:
            assert not allowed({"name": path.rsplit(".", 1)[1]})
            assert not allowed({"name": "x", "path": path})
            # FLARE takes what is below a full path; there is no module of that name to take it from
            assert allowed({"path": f"{path}.handle_event"})
            with pytest.raises(TypeError):
                load_class(f"{path}.handle_event")


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
        assert scope["task_data_filters"] == [{"path": "fedward.flare.gates.ingress.IngressGate", "args": {}}]
        assert scope["task_result_filters"] == [{"path": "fedward.flare.gates.egress.EgressGate", "args": {}}]
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
    """No streamer, no sender of analytics or events: only FLARE's own managers of resources, and our listener."""
    for kit in kits.sites.values():
        resources = json.loads((kit / "local" / "resources.json").read_text())
        assert {component["id"] for component in resources["components"]} == {
            "resource_manager",
            "resource_consumer",
            "process_launcher",
            "site_door",
        }


def test_a_job_waits_at_the_server_for_its_hospitals(kits: Kits) -> None:
    for name in ("resources.json", "resources.json.default"):
        content = json.loads((kits.server / "local" / name).read_text())
        (scheduler,) = (one for one in content["components"] if one["id"] == "job_scheduler")
        assert scheduler["path"] == f"{WaitingScheduler.__module__}.{WaitingScheduler.__qualname__}"
        WaitingScheduler(**scheduler["args"])


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
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert "/tmp" not in (kits.server / "local" / "resources.json").read_text()


def test_what_stock_tools_start_from_is_closed_too(kits: Kits) -> None:
    """`nvflare deploy prepare` builds a kit from the *.default files and removes those beside them."""
    for kit in [kits.server, *kits.sites.values()]:
        for name in ("resources.json", "authorization.json"):
            assert (kit / "local" / f"{name}.default").read_bytes() == (kit / "local" / name).read_bytes()


def test_every_kit_is_stamped(kits: Kits, spec: FederationSpec) -> None:
    for name, kit in {spec.server.host: kits.server, **kits.sites, **kits.people}.items():
        stamp = read_stamp(kit)
        assert (stamp.federation, stamp.participant, stamp.wheel) == (spec.name, name, package_hash())


def test_tls_1_2_has_no_cipher_that_the_kits_could_use(kits: Kits) -> None:
    for kit in [kits.server, *kits.sites.values()]:
        lines = (kit / "startup" / "sub_start.sh").read_text().splitlines()
        assert lines[0].startswith("#!")
        assert lines[1] == f'export GRPC_SSL_CIPHER_SUITES="{CIPHERS}"'


def test_the_server_has_a_door_and_an_empty_revocation_list(kits: Kits) -> None:
    resources = json.loads((kits.server / "local" / "resources.json").read_text())
    assert [c for c in resources["components"] if c["id"] == "server_door"] == [
        {"id": "server_door", "path": "fedward.flare.listener.server_door.ServerDoor", "args": {}}
    ]
    root = read_pem(kits.server / "startup" / "rootCA.pem")
    crl = kits.server / "local" / CRL_FILE
    assert parse_crl(crl_content(crl), root=root, where=crl) == Revocations(1, frozenset())


def test_a_site_may_not_open_its_kit_by_a_file_of_the_template(tmp_path: Path, tiny: FederationSpec) -> None:
    """Files that every kit has are not replaced, and none is put where FLARE would import it."""
    extras = {"north": LocalExtras({"authorization.json": "{}", "resources.json": "{}", "site.toml": "mine"})}
    kit = provision(tiny, tmp_path, extras=extras).sites["north"]
    assert json.loads((kit / "local" / "authorization.json").read_text()) == AUTHORIZATION
    assert (kit / "local" / "site.toml").read_text() == "mine"
    for name in ("custom/evil.py", "../startup/x", "/etc/x", "a/../../x"):
        with pytest.raises(ValueError, match="no file name below local"):
            local_name(name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    provision(federation("north", "south"), out)
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of a federation of two hospitals."""
    return Path(shutil.copytree(made, tmp_path / "out"))


@pytest.fixture
def tiny() -> FederationSpec:
    return federation("north")


def federation(*sites: str, port: int = 8102) -> FederationSpec:
    content = {
        "name": "trial",
        "server": {"host": "localhost", "port": port, "organisation": "operator"},
        "hospitals": [{"site": site, "organisation": site} for site in sites],
        "people": [{"email": "lead@trial.org", "organisation": "operator", "role": "lead"}],
    }
    return parse(FederationSpec, content, where="trial")


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its mode and content."""
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_same_file_again_changes_no_byte(out: Path) -> None:
    before = tree(out)
    kits = provision(federation("north", "south"), out)
    assert tree(out) == before
    assert set(kits.sites) == {"north", "south"}


def test_a_new_line_adds_one_kit_and_touches_no_other(out: Path) -> None:
    before = tree(out)
    kits = provision(federation("north", "south", "west"), out)
    after = tree(out)
    assert {name for name in before if after[name] != before[name]} == {"trial/state/inventory.json"}
    new = {name for name in after.keys() - before.keys() if not name.startswith("trial/prod_00/west/")}
    assert new == {"trial/state/certificates/west.pem"}
    identity = read_identity(kits.sites["west"])
    assert identity.name == "west"
    assert identity.root == read_identity(kits.sites["north"]).root
    require_hardened(kits.sites["west"], Kind.site)
    # and no key of another participant is anywhere but in its own kit
    keys = [content for name, (_, content) in after.items() if name.endswith(".key") and "state" not in name]
    assert len(set(keys)) == len(keys) == 5
    assert all(content not in b"".join(c for n, (_, c) in after.items() if "/state/" in n) for content in keys)


def test_a_line_more_than_once_and_back(out: Path) -> None:
    """Hospitals that come one after the other have what hospitals that come together have."""
    for sites in (("north", "south", "west"), ("north", "south", "west", "east"), ("north", "south")):
        provision(federation(*sites), out)
    inventory = FederationFolder(out / "trial").known()
    assert {one.name for one in inventory.participants} == {
        "localhost",
        "lead@trial.org",
        "north",
        "south",
        "west",
        "east",
    }
    assert len({one.certificates[0].serial for one in inventory.participants}) == 6


@pytest.mark.parametrize(
    "interrupted",
    [
        "fedward.flare.kits.central.Provisioner.provision",
        "fedward.flare.kits.central.require_hardened",
        "fedward.flare.kits.central.encode_inventory",
        "fedward.flare.kits.central.HardenKit.build",
        "fedward.flare.kits.central.HardenKit.finalize",
        "fedward.provisioning.folder._sync",
    ],
)
@pytest.mark.parametrize("how", [KeyboardInterrupt, OSError])
def test_an_interrupted_run_leaves_the_old_state(
    out: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str, how: type[BaseException]
) -> None:
    before = tree(out)

    def stop(*_: Any, **__: Any) -> None:
        raise how(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(interrupted, stop)
        with pytest.raises((KeyboardInterrupt, FederationError)):
            provision(federation("north", "south", "west"), out)
    assert tree(out) == before
    assert provision(federation("north", "south", "west"), out).sites["west"].is_dir()


def test_a_kit_that_was_not_closed_is_not_kept(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were our builder skipped, no kit would come out, open or not."""
    before = tree(out)
    monkeypatch.setattr("fedward.flare.kits.central.HardenKit.build", lambda *_: None)
    with pytest.raises(FederationError, match=r"not closed|is not a file of a kit"):
        provision(federation("north", "south", "west"), out)
    assert tree(out) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("startup/fed_client.json", '"mtls"', '"tls"'),
        ("local/resources.json", '"enforce"', '"warn"'),
        ("local/resources.json.default", '"fedward.flare.site.executor.HospitalExecutor"', '"fedward.flare."'),
        ("local/resources.json", '"allow_log_streaming": false', '"allow_log_streaming": true'),
        ("local/authorization.json", '"byoc": "none"', '"byoc": "any"'),
        ("local/privacy.json", "EgressGate", "OpenGate"),
        ("startup/sub_start.sh", "GRPC_SSL_CIPHER_SUITES", "OTHER"),
        ("startup/sub_start.sh", "PYTHONSAFEPATH", "OTHER"),
        (
            "startup/sub_start.sh",
            "PYTHONSAFEPATH=1\n",
            "PYTHONSAFEPATH=1\nexport PYTHONPATH=/local/custom:$PYTHONPATH\n",
        ),
    ],
)
def test_a_kit_that_is_open_is_noticed(out: Path, file: str, old: str, new: str) -> None:
    kit = out / "trial" / "prod_00" / "north"
    require_hardened(kit, Kind.site)
    text = (kit / file).read_text()
    assert old in text
    (kit / file).write_text(text.replace(old, new, 1))
    with pytest.raises(FederationError, match=Path(file).name):
        require_hardened(kit, Kind.site)


@pytest.mark.parametrize("folder", ["custom", "local/custom", "startup/custom"])
def test_a_kit_with_code_beside_the_package_is_noticed(out: Path, folder: str) -> None:
    kit = out / "trial" / "prod_00" / "north"
    (kit / folder).mkdir()
    with pytest.raises(FederationError, match="code beside the package"):
        require_hardened(kit, Kind.site)


def test_no_process_of_a_kit_looks_for_code_in_its_own_folder(kits: Kits) -> None:
    """FLARE's line for ``/local/custom`` ends in an empty part where nothing was set, which is the working folder."""
    for kit in [kits.server, *kits.sites.values()]:
        script = (kit / "startup" / "sub_start.sh").read_text()
        assert "export PYTHONSAFEPATH=1\n" in script
        assert "export PYTHONUTF8=1\n" in script
        assert "export PYTHONPATH" not in script


def test_another_port_is_refused_and_nothing_is_written(out: Path) -> None:
    before = tree(out)
    with pytest.raises(FederationError, match="server changed from localhost:8102 to localhost:9000"):
        provision(federation("north", "south", port=9000), out)
    assert tree(out) == before


def test_a_kit_from_elsewhere_is_left_alone(out: Path) -> None:
    stray = out / "trial" / "prod_00" / "west"
    stray.mkdir()
    (stray / "thesis.txt").write_text("years of work")
    with pytest.raises(FederationError, match="does not know"):
        provision(federation("north", "south", "west"), out)
    assert (stray / "thesis.txt").read_text() == "years of work"


def test_the_authority_is_its_owners_alone(out: Path) -> None:
    state = out / "trial" / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "rootCA.key").stat().st_mode) == 0o600
    assert b"PRIVATE KEY" not in b"".join(
        path.read_bytes() for path in state.rglob("*") if path.is_file() and path.name != "rootCA.key"
    )
