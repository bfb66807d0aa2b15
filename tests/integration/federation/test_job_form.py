"""Check that a job of another form runs nowhere: an honest server refuses it, and so does a site of a lax server."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nvflare.fuel.flare_api.api_spec import InvalidJobDefinition
from nvflare.lighter.utils import load_private_key_file, sign_folders

from fedward.flare.export import export_job
from tests.integration.conftest import Running, send
from tests.integration.federation.test_federation import named

pytestmark = pytest.mark.integration

MARKER = "marker-of-a-job"
Edit = Callable[[Path, str], object]


def _component(side: str) -> Edit:
    """A callable of ours that makes a folder in the kit."""

    def edit(folder: Path, url: str) -> None:
        path = folder / "app" / "config" / f"config_fed_{side}.json"
        content = json.loads(path.read_text())
        made = {"path": "fedward.flare.storage.KitStorage", "args": {"folder": MARKER}}
        content["components"].append({"id": "more", **made})
        path.write_text(json.dumps(content, indent=2) + "\n")

    return edit


def _text(name: str, text: str) -> Edit:
    def edit(folder: Path, url: str) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("URL", url))

    return edit


def _told(**more: Any) -> Edit:
    def edit(folder: Path, url: str) -> None:
        path = folder / "meta.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more, indent=2) + "\n")

    return edit


BY_HAND: dict[str, Edit] = {
    "class at a site": _component("client"),
    "class at the server": _component("server"),
    "include at a site": _text("app/config/config_fed_client.conf", 'include url("URL")\n'),
    "include at the server": _text("app/config/config_fed_server.conf", 'include url("URL")\n'),
    "code": _text("app/custom/mine.py", "print('here')\n"),
    "scope": _told(scope="lax"),
    "launcher": _told(launcher_spec={"default": {"k8s": {"image": "elsewhere"}}}),
}


@pytest.fixture(scope="module")
def heard() -> Iterator[tuple[str, list[str]]]:
    """Listen on loopback; yield the address and the requests received."""
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/included.conf", asked
    server.shutdown()
    server.server_close()
    thread.join()


def _job(name: str, out: Path, edit: Edit | None = None, url: str = "") -> Path:
    folder = export_job(named(name.replace(" ", "_"), federation={"rounds": 1, "local_baseline": False}), out)
    if edit is not None:
        edit(folder, url)
    return folder


def _kits(running: Running) -> list[Path]:
    return [running.kits.server, *running.kits.sites.values()]


def _folders(running: Running) -> set[Path]:
    return {path for kit in _kits(running) for path in kit.iterdir() if path.is_dir()}


def _began_nowhere(running: Running, job_id: str, *, kits: list[Path]) -> None:
    """No process of the job was started: its run folder is not there, and nothing was made."""
    for kit in kits:
        assert not list(kit.glob(f"{job_id}/log*.txt")), f"{kit.name} began the job"
        assert not list(kit.rglob(MARKER)), f"{kit.name} built a class of the job's"


@pytest.mark.parametrize("way", BY_HAND)
def test_an_honest_server_takes_no_job_that_was_written_by_hand(
    running: Running, tmp_path: Path, heard: tuple[str, list[str]], way: str
) -> None:
    """Signed by a lead, sent by FLARE's own API: refused before FLARE's loaders read a line of it."""
    before = _folders(running)
    stored = set((running.kits.server / "storage" / "jobs").rglob("*"))
    with pytest.raises(InvalidJobDefinition, match="not what its settings export to"):
        send(running, _job(way, tmp_path, BY_HAND[way], heard[0]))
    assert heard[1] == []
    assert _folders(running) == before
    assert set((running.kits.server / "storage" / "jobs").rglob("*")) == stored


def _signed_by(kit: Path, who: str, patch: pytest.MonkeyPatch) -> None:
    """FLARE's console signs with another key than the session's."""
    key, certificate = (str(kit / "startup" / f"{who}.{end}") for end in ("key", "crt"))

    def sign(folder: str, *_: object) -> None:
        sign_folders(folder, load_private_key_file(key), certificate)

    patch.setattr("nvflare.fuel.hci.client.file_transfer.sign_folders", sign)


SIGNERS = ["server", "site"]


def _kit_of(running: Running, who: str) -> tuple[Path, str]:
    return (running.kits.server, "server") if who == "server" else (min(running.kits.sites.values()), "client")


@pytest.mark.parametrize("who", SIGNERS)
def test_an_honest_server_takes_no_job_that_nobody_who_may_submit_has_signed(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    _signed_by(*_kit_of(running, who), monkeypatch)
    with pytest.raises(InvalidJobDefinition, match="not signed by one who may submit"):
        send(running, _job(f"by_{who}", tmp_path))


@pytest.mark.parametrize("way", BY_HAND)
def test_a_site_takes_no_such_job_from_a_server_that_does(
    lying: Running, tmp_path: Path, heard: tuple[str, list[str]], way: str
) -> None:
    """The server takes, stores and deploys it; no hospital makes a run folder, process, include or class from it."""
    job_id = send(lying, _job(way, tmp_path, BY_HAND[way], heard[0]))
    assert lying.session.wait(job_id, each=lying.federation.check) != "FINISHED:COMPLETED"
    _began_nowhere(lying, job_id, kits=_kits(lying))
    for kit in lying.kits.sites.values():
        assert not (kit / job_id).exists()
        if way != "code":  # the server's own table of rights is before it
            assert "job refused" in (kit / "log.txt").read_text()


@pytest.mark.parametrize("who", SIGNERS)
def test_a_site_takes_no_job_that_the_server_or_a_site_has_signed(
    lying: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Canonical in every byte, at hospitals that admit any job."""
    _signed_by(*_kit_of(lying, who), monkeypatch)
    job_id = send(lying, _job(f"by_{who}", tmp_path))
    assert lying.session.wait(job_id, each=lying.federation.check) != "FINISHED:COMPLETED"
    _began_nowhere(lying, job_id, kits=_kits(lying))


def test_an_ordinary_job_runs_there_and_no_process_imports_from_its_kit(lying: Running, tmp_path: Path) -> None:
    """Parents and job processes of server and sites, each beside modules of names that it imports."""
    job_id = send(lying, _job("ordinary", tmp_path))
    assert lying.session.wait(job_id, each=lying.federation.check) == "FINISHED:COMPLETED"
    for kit in lying.kits.sites.values():
        assert list(kit.glob(f"{job_id}/log*.txt")), "the job ran here"
    for kit in _kits(lying):
        assert (kit / "json.py").exists()
        assert not (kit / "imported").exists(), (kit / "imported").read_text()
