"""The server's three places where a job is checked: as it is submitted, deployed, and as its process is to start."""

from __future__ import annotations

import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace
from nvflare.private.fed.app.default_app_validator import DefaultAppValidator
from nvflare.private.fed.server import job_cmds, job_runner, server_engine
from nvflare.private.fed.server.job_meta_validator import JobMetaValidator
from nvflare.private.fed.utils.app_authz import AppAuthzService
from nvflare.private.fed.utils.app_deployer import AppDeployer

from fedward.errors import FederationError, JobError
from fedward.flare.job_checks import server
from fedward.flare.job_checks.server import CanonicalDeployer, CanonicalValidator, launcher_of_canonical
from fedward.flare.kits.central import Kits
from tests.support.flare.submitted import JOB_ID, app_archive, archive, meta_of, submitted
from tests.unit.flare.job_checks.test_site import BETWEEN, BY_HAND
from tests.unit.flare.test_submitter import LEAD, a_job, federation


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return federation(tmp_path_factory.mktemp("kits"))


@pytest.fixture(autouse=True)
def in_the_kit(kits: Kits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server's process runs."""
    monkeypatch.chdir(kits.server)
    AppAuthzService.app_validator = DefaultAppValidator("server")


@pytest.fixture
def workspace(kits: Kits, tmp_path: Path) -> Workspace:
    (tmp_path / "server").mkdir()
    for folder in ("startup", "local"):
        (tmp_path / "server" / folder).symlink_to(kits.server / folder)
    return Workspace(str(tmp_path / "server"), "server")


class Heard:
    """A listener on loopback, and what asked it for anything."""

    def __init__(self) -> None:
        heard: list[str] = []

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.paths = heard
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/x.conf"


@pytest.fixture
def heard() -> Iterator[Heard]:
    listener = Heard()
    thread = threading.Thread(target=listener.server.serve_forever)
    thread.start()
    yield listener
    listener.server.shutdown()
    listener.server.server_close()
    thread.join()


def takes(data: bytes | str, name: str = "tiny") -> bool:
    return CanonicalValidator().validate(name, data)[0]


def test_flares_modules_use_ours_once_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (job_cmds, "JobMetaValidator"),
        (job_runner, "AppDeployer"),
        (server_engine, "get_job_launcher"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    for _ in range(2):
        server.install()
        assert job_cmds.JobMetaValidator is CanonicalValidator
        assert job_runner.AppDeployer is CanonicalDeployer
        assert server_engine.get_job_launcher is launcher_of_canonical


@pytest.mark.parametrize(
    "place", [(job_cmds, "JobMetaValidator"), (job_runner, "AppDeployer"), (server_engine, "get_job_launcher")]
)
def test_another_flare_does_not_start(place: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (job_cmds, "JobMetaValidator"),
        (job_runner, "AppDeployer"),
        (server_engine, "get_job_launcher"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(*place, object())
    with pytest.raises(FederationError, match="another release"):
        server.install()


@pytest.mark.parametrize("who", [LEAD, "operator@uni.org"])
@pytest.mark.parametrize("study", [None, "chest"])
def test_an_ordinary_job_is_taken_as_a_file_or_as_bytes(
    kits: Kits, tmp_path: Path, who: str, study: str | None
) -> None:
    data = archive(submitted(a_job(), tmp_path, kits.people[who], study=study))
    assert takes(data)
    (tmp_path / "upload").write_bytes(data)
    valid, _, meta = CanonicalValidator().validate("tiny", str(tmp_path / "upload"))
    assert valid
    assert meta["name"] == "tiny"


@pytest.mark.parametrize("way", BY_HAND)
def test_a_job_that_was_written_by_hand_is_not_taken(kits: Kits, tmp_path: Path, way: str) -> None:
    assert not takes(archive(submitted(a_job(), tmp_path, kits.people[LEAD], change=BY_HAND[way])))


@pytest.mark.parametrize(
    ("who", "key"),
    [
        ("server", "server"),
        ("clinic", "client"),
        ("reader@clinic.org", "client"),
        ("it@clinic.org", "client"),
        (None, ""),
    ],
)
def test_a_job_of_one_who_may_not_submit_is_not_taken(kits: Kits, tmp_path: Path, who: str | None, key: str) -> None:
    kit = None if who is None else {"server": kits.server, **kits.sites, **kits.people}[who]
    assert not takes(archive(submitted(a_job(), tmp_path, kit, who=key)))


@pytest.mark.parametrize("place", ["meta.conf", "meta.json", "app/config/config_fed_server.conf"])
def test_nothing_of_a_job_is_loaded_before_it_is_checked(kits: Kits, tmp_path: Path, heard: Heard, place: str) -> None:
    """An include of an address: FLARE's loader asks for it, ours asks nobody."""

    def change(folder: Path) -> None:
        for name in ("meta.json", "app/config/config_fed_server.json"):
            if place.startswith(name.removesuffix(".json")):
                (folder / name).unlink()
        text = f'include url("{heard.url}")\nname = tiny\ndeploy_map {{ app = ["@ALL"] }}\n'
        (folder / place).write_text(text)

    data = archive(submitted(a_job(), tmp_path, kits.people[LEAD], change=change))
    assert not takes(data)
    assert heard.paths == []
    if place.endswith(".conf"):
        JobMetaValidator().validate("tiny", data)
        assert heard.paths == ["/x.conf"], "FLARE's own loader no longer asks"


@pytest.mark.parametrize("name", ["", "..", "../tiny", "tiny/app", "/tmp/tiny", "other", None, 7, ".tiny"])
def test_a_folders_name_is_a_plain_one_and_the_archives(kits: Kits, tmp_path: Path, name: Any) -> None:
    assert not takes(archive(submitted(a_job(), tmp_path, kits.people[LEAD])), name)


@pytest.mark.parametrize("data", [b"", b"PK", "/nowhere", "/dev/zero", None, 7])
def test_what_is_no_archive_is_not_taken(data: Any) -> None:
    assert not takes(data)


def test_a_bomb_is_not_taken(kits: Kits, tmp_path: Path) -> None:
    out = io.BytesIO(archive(submitted(a_job(), tmp_path, kits.people[LEAD])))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as more:
        more.writestr("tiny/app/config/big.json", b"\0" * 2**28)
    assert not takes(out.getvalue())


def deployed(workspace: Workspace, folder: Path, meta: dict[str, Any]) -> bool:
    err = CanonicalDeployer().deploy(workspace, JOB_ID, meta, "app", app_archive(folder), FLContext())
    if err:
        assert not Path(workspace.get_run_dir(JOB_ID)).exists()
    return not err


def launched(workspace: Workspace, meta: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    context, chosen = FLContext(), []
    context.set_prop(FLContextKey.WORKSPACE_OBJECT, workspace, private=True, sticky=False)
    monkeypatch.setattr(server, "get_job_launcher", lambda *_: chosen.append("launcher"))
    try:
        launcher_of_canonical(meta, context)
    except JobError:
        assert not chosen
    return bool(chosen)


def test_an_ordinary_job_is_deployed_and_started(
    kits: Kits, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = submitted(a_job(), tmp_path / "job", kits.people[LEAD])
    assert deployed(workspace, folder, meta_of(a_job()))
    assert launched(workspace, meta_of(a_job(), status="DISPATCHED"), monkeypatch)


@pytest.mark.parametrize("way", BY_HAND)
def test_a_stored_job_that_was_written_by_hand_is_not_deployed(
    kits: Kits, tmp_path: Path, workspace: Workspace, way: str
) -> None:
    """One that was in the store before, or was put there."""
    folder = submitted(a_job(), tmp_path / "job", kits.people[LEAD], change=BY_HAND[way])
    assert not deployed(workspace, folder, meta_of(a_job()))


@pytest.mark.parametrize(("who", "key"), [("server", "server"), ("reader@clinic.org", "client"), (None, "")])
def test_a_stored_job_of_one_who_may_not_submit_is_not_deployed(
    kits: Kits, tmp_path: Path, workspace: Workspace, who: str | None, key: str
) -> None:
    kit = None if who is None else {"server": kits.server, **kits.people}[who]
    assert not deployed(workspace, submitted(a_job(), tmp_path / "job", kit, who=key), meta_of(a_job()))


@pytest.mark.parametrize("more", [{"scope": "lax"}, {"byoc": True}, {"launcher_spec": {}}, {"custom_props": {"a": 1}}])
def test_a_stored_job_with_other_words_is_not_deployed(
    kits: Kits, tmp_path: Path, workspace: Workspace, more: dict[str, Any]
) -> None:
    assert not deployed(workspace, submitted(a_job(), tmp_path / "job", kits.people[LEAD]), meta_of(a_job()) | more)


@pytest.mark.parametrize("way", sorted(set(BETWEEN) - {"another job"}))
def test_what_was_changed_after_it_was_deployed_is_not_started(
    kits: Kits, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    assert deployed(workspace, submitted(a_job(), tmp_path / "job", kits.people[LEAD]), meta_of(a_job()))
    run = Path(workspace.get_run_dir(JOB_ID))
    (run / "app_server").rename(run / "app_clinic")
    BETWEEN[way](run)
    if (run / "app_clinic").exists():
        (run / "app_clinic").rename(run / "app_server")
    assert not launched(workspace, meta_of(a_job()), monkeypatch)


def test_a_check_that_throws_refuses(
    kits: Kits, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = submitted(a_job(), tmp_path / "job", kits.people[LEAD])
    data = archive(folder)

    def odd(*_: object, **__: object) -> None:
        raise MemoryError("DOE-JANE")

    for name in ("is_folder", "read_archive", "require_job", "require_signer"):
        with monkeypatch.context() as patch:
            patch.setattr(server, name, odd)
            valid, said, _ = CanonicalValidator().validate("tiny", data)
            assert not valid
            assert "DOE" not in said
    with monkeypatch.context() as patch:
        patch.setattr(server, "require_deployable", odd)
        assert not deployed(workspace, folder, meta_of(a_job()))
    assert deployed(workspace, folder, meta_of(a_job()))
    with monkeypatch.context() as patch:
        patch.setattr(server, "require_laid_out", odd)
        assert not launched(workspace, meta_of(a_job()), monkeypatch)


def test_flares_deployer_takes_what_ours_refuses(kits: Kits, tmp_path: Path, workspace: Workspace) -> None:
    """Were this to fail, the tests here would pass without ours."""
    folder = submitted(
        a_job(), tmp_path / "job", kits.people["reader@clinic.org"], change=BY_HAND["a component of ours"]
    )
    assert not AppDeployer().deploy(workspace, JOB_ID, meta_of(a_job()), "app", app_archive(folder), FLContext())
    assert JobMetaValidator().validate("tiny", archive(folder))[0]
