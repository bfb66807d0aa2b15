"""Consoles at the server: names, commands, and the files that they send up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.app_common.streamers import file_streamer
from nvflare.app_common.streamers.streamer_base import KEY_DATA, KEY_DATA_SIZE, KEY_FILE_SIZE
from nvflare.fuel.f3.cellnet.net_manager import NetManager
from nvflare.fuel.hci.server.builtin import BuiltInCmdModule
from nvflare.fuel.hci.server.login import LoginModule
from nvflare.fuel.hci.server.sess import SessionManager
from nvflare.fuel.sec.authz import AuthorizationService, Authorizer
from nvflare.private.defs import ClientType
from nvflare.private.fed.server.fed_server import FederatedServer
from nvflare.private.fed.server.server_cmd_modules import ServerCommandModules
from nvflare.private.fed.server.server_engine import ServerEngine

from fedward.errors import GateError
from fedward.flare.console import sessions as console_sessions
from fedward.flare.console.sessions import MOST_EACH, Consoles
from fedward.flare.console.uploads import MOST_OPEN, Uploads
from fedward.flare.kits.permissions import AUTHORIZATION
from fedward.privacy.policy.job_archive import ARCHIVE_BYTES

LEAD, MEMBER = "lead@demo.org", "member@demo.org"
CONSOLE = "_admin_0b7a1c1e-5b0e-4c7a-9f00-000000000001"


@pytest.fixture
def consoles(monkeypatch: pytest.MonkeyPatch) -> Iterator[Consoles]:
    for place, names in (
        (LoginModule, ("pre_command", "handle_cert_login")),
        (ServerEngine, ("_handle_aux_message",)),
        (FederatedServer, ("register_client",)),
        (NetManager, ("get_spec",)),
        (SessionManager, ("get_spec",)),
        (file_streamer, ("_ChunkConsumerFactory",)),
    ):
        for name in names:
            monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setattr(FederatedServer, "register_client", lambda self, request: "registered")
    made = Consoles()
    console_sessions.install(made)
    yield made


def test_one_person_with_many_consoles_shuts_nobody_out() -> None:
    consoles = Consoles()
    assert consoles.bind("of the lead", LEAD)
    for number in range(MOST_EACH * 3):
        assert consoles.bind(f"drawn {number}", MEMBER)
    assert consoles.owner("of the lead") == LEAD
    assert not consoles.bind("of the lead", MEMBER)
    assert consoles.owner("drawn 0") is None, "the oldest of the same person is forgotten"
    assert consoles.owner(f"drawn {MOST_EACH * 3 - 1}") == MEMBER
    assert consoles.bind("further", LEAD)


WITHOUT_RIGHT = {"_commands", "_cert_login", "_logout", "_check_session"}
OWN_CHECK = {"dead", "admin_check_status", "remove_study"} | {"list_studies", "show_study", "register_study"}
OWN_CHECK |= {f"{what}_study_{whom}" for what in ("add", "remove") for whom in ("site", "user")}
BY_RIGHT = {
    *("pwd", "ls", "cat", "head", "tail", "grep", "sys_info", "configure_site_log", "report_resources", "report_env"),
    *("report_version", "check_status", "remove_client", "disable_client", "enable_client", "shutdown", "restart"),
    *("show_scopes", "delete_workspace", "configure_job_log", "list_jobs", "get_job_log", "get_job_meta", "list_job"),
    *("delete_job", "abort_job", "clone_job", "submit_job", "download_job", "download_job_components", "app_command"),
    *("show_stats", "show_errors", "reset_errors"),
}


def test_every_command_of_the_servers_console_asks_for_a_right_or_is_listed_here(consoles: Consoles) -> None:
    """All that FLARE 2.9 registers; a version that registers one more fails here until somebody has looked at it."""
    own = [object.__new__(kind) for kind in (LoginModule, SessionManager, NetManager, BuiltInCmdModule)]
    specs = [spec for module in (*ServerCommandModules.cmd_modules, *own) for spec in module.get_spec().cmd_specs]
    assert {spec.name for spec in specs if spec.authz_func is None} == WITHOUT_RIGHT
    assert {spec.name for spec in specs if spec.authz_func is not None} == BY_RIGHT | OWN_CHECK


@pytest.mark.parametrize(
    ("origin", "kind", "address", "passes"),
    [
        ("north-clinic", ClientType.REGULAR, "10.0.0.1", True),
        (CONSOLE, ClientType.ADMIN, "10.0.0.1", True),
        ("north-clinic", ClientType.RELAY, "10.0.0.1", False),
        ("north-clinic", ClientType.ADMIN, "10.0.0.1", False),
        (CONSOLE, ClientType.REGULAR, "10.0.0.1", False),
        ("north-clinic", None, "10.0.0.1", False),
        ("north-clinic", ClientType.REGULAR, "10.0.0.1\nforged line", False),
        ("north-clinic", ClientType.REGULAR, "1" * 65, False),
        ("north-clinic", ClientType.REGULAR, None, False),
    ],
)
def test_who_signs_in(consoles: Consoles, origin: str, kind: object, address: object, passes: bool) -> None:
    consoles.bind(CONSOLE, LEAD)
    told = {"cn__origin": origin, "client_type": kind, "client_ip": address}
    found = FederatedServer.register_client(object(), SimpleNamespace(get_header=told.get))
    assert (found == "registered") is passes


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    authorizer = Authorizer(site_org="operator")
    authorizer.load_policy(AUTHORIZATION)
    monkeypatch.setattr(AuthorizationService, "the_authorizer", authorizer)
    people = {
        who: SimpleNamespace(user_name=who, user_org="operator", user_role=role)
        for who, role in ((LEAD, "lead"), (MEMBER, "member"))
    }

    def create(text: str) -> tuple[bool, str, Any]:
        told = json.loads(text)
        return True, told["command"], SimpleNamespace(get_token=lambda: told["token"])

    sessions = SimpleNamespace(get_session=lambda token, asserter: people.get(token))
    return SimpleNamespace(_create_conn=create, sess_mgr=sessions, get_id_asserter=lambda: None)


def sent(size: object = 5, *, command: str = "submit_job job", token: str = LEAD) -> dict[str, Any]:
    return {KEY_FILE_SIZE: size, "conn_data": json.dumps({"command": command, "token": token})}


def context(admin: SimpleNamespace) -> Any:
    engine = SimpleNamespace(server=SimpleNamespace(admin_server=admin))
    return SimpleNamespace(get_engine=lambda: engine)


def chunk(data: bytes) -> dict[str, Any]:
    return {KEY_DATA: data, KEY_DATA_SIZE: len(data)}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("command", ["submit_job job", "job_mgmt.submit_job job"])
def test_a_job_is_sent_up_and_leaves_nothing_behind(admin: SimpleNamespace, tmp_path: Path, command: str) -> None:
    uploads, told = Uploads(lambda: LEAD, str(tmp_path)), sent(command=command)
    one = uploads.get_consumer(told, context(admin))
    one.consume(chunk(b"abc"), told, None)
    (file,) = files(tmp_path)
    assert file.parent.stat().st_mode & 0o077 == 0, "nobody else of the machine reads it"
    uploads.return_consumer(one, told, None)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("told", "sender"),
    [
        (sent(ARCHIVE_BYTES + 1), LEAD),
        (sent(0), LEAD),
        (sent(-1), LEAD),
        (sent(True), LEAD),
        (sent(None), LEAD),
        (sent("5"), LEAD),
        (sent(), None),
        (sent(), MEMBER),
        (sent(token=MEMBER), LEAD),
        (sent(token="stale"), LEAD),
        (sent(command="list_jobs"), LEAD),
        (sent(command=""), LEAD),
        ({KEY_FILE_SIZE: 5}, LEAD),
        ({KEY_FILE_SIZE: 5, "conn_data": 7}, LEAD),
    ],
)
def test_what_is_no_job_of_its_senders_is_never_written(
    admin: SimpleNamespace, tmp_path: Path, told: dict[str, Any], sender: str | None
) -> None:
    with pytest.raises(GateError):
        Uploads(lambda: sender, str(tmp_path)).get_consumer(told, context(admin))
    assert files(tmp_path) == []


def test_a_file_is_no_longer_than_it_said(admin: SimpleNamespace, tmp_path: Path) -> None:
    told = sent(5)
    one = Uploads(lambda: LEAD, str(tmp_path)).get_consumer(told, context(admin))
    one.consume(chunk(b"abc"), told, None)
    with pytest.raises(GateError):
        one.consume(chunk(b"def"), told, None)
    one.discard()


def test_one_person_has_few_files_open(admin: SimpleNamespace, tmp_path: Path) -> None:
    uploads = Uploads(lambda: LEAD, str(tmp_path))
    opened = [uploads.get_consumer(sent(), context(admin)) for _ in range(MOST_OPEN * 3)]
    assert len(files(tmp_path)) == MOST_OPEN
    for one in opened:
        uploads.return_consumer(one, sent(), None)
    assert files(tmp_path) == []
