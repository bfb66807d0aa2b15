"""Try every way to a hospital's data other than the two with gates, in a real federation: each is closed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nvflare.fuel.flare_api.api_spec import InvalidJobDefinition

from fedward.flare.export import export_job
from fedward.flare.job_context import SITE_FILE
from fedward.metrics.events import EVENTS_FILE, EventReader
from tests.integration.conftest import Running, send
from tests.integration.federation.test_federation import named

pytestmark = pytest.mark.integration

MARK = "MARK-8f2c1d"
"""Stands in a hospital's file, path and exception; must be found in its own log and nowhere at the server."""
RECEIVER = "nvflare.app_opt.tracking.tb.tb_receiver.TBAnalyticsReceiver"

Edit = Callable[[dict[str, Any]], None]


def _component(path: str, **args: Any) -> Edit:
    return lambda config: config["components"].append({"id": "extra", "path": path, "args": args})


def _filter(path: str, chain: str, **args: Any) -> Edit:
    return lambda config: config[chain].append({"tasks": ["*"], "filters": [{"path": path, "args": args}]})


CLASSES: dict[str, tuple[str, Edit]] = {
    "events": (
        "client",
        _component("nvflare.app_common.widgets.convert_to_fed_event.ConvertToFedEvent", events_to_convert=["log"]),
    ),
    "analytics": ("client", _component("nvflare.app_common.widgets.streaming.AnalyticsSender")),
    "logs": ("client", _component("nvflare.app_common.logging.job_log_streamer.JobLogStreamer")),
    "errors": ("client", _component("nvflare.widgets.info_collector.InfoCollector")),
    "results": ("client", _filter("nvflare.app_common.filters.convert_weights.ConvertWeights", "task_result_filters")),
    "persistor": ("server", _component("nvflare.app_opt.pt.file_model_persistor.PTFileModelPersistor")),
}
"""Classes of FLARE that would bypass the gates, each named by a separate job."""


def _edited(out: Path, name: str, side: str, edit: Edit) -> Path:
    folder = export_job(named(name, federation={"rounds": 1, "local_baseline": False}), out)
    config = folder / "app" / "config" / f"config_fed_{side}.json"
    content = json.loads(config.read_text())
    edit(content)
    config.write_text(json.dumps(content))
    return folder


def _server_files(running: Running) -> dict[Path, bytes]:
    files = [path for path in running.kits.server.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files}


def _site_logs(running: Running, site: str) -> str:
    return "".join(path.read_text(errors="replace") for path in running.kits.sites[site].rglob("*log*.txt"))


def _events(running: Running, job_id: str, out: Path) -> list[dict[str, Any]]:
    return list(EventReader(running.session.download(job_id, out) / EVENTS_FILE))


def _lax(out: Path) -> Path:
    """A job that asks for another privacy scope."""
    folder = export_job(named("lax", federation={"rounds": 1, "local_baseline": False}), out)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"scope": "lax"}))
    return folder


def _ended(running: Running, out: Path) -> str:
    """A job that has run to its end."""
    job_id = running.session.submit(export_job(named("ended", federation={"rounds": 1, "local_baseline": False}), out))
    assert running.session.wait(job_id, each=running.federation.check) == "FINISHED:COMPLETED"
    return job_id


def _no_site_began(running: Running, job_id: str) -> None:
    for site, kit in running.kits.sites.items():
        assert not (kit / job_id).exists(), f"{site} began the job"
    server = [path for path in running.kits.server.rglob(EVENTS_FILE) if job_id in str(path)]
    assert not any(b'"answered"' in path.read_bytes() for path in server)


def test_a_job_picks_no_other_scope(running: Running, lying: Running, tmp_path: Path) -> None:
    """FLARE lets a job name its privacy scope: a server does not take it, and a site not from one that does."""
    with pytest.raises(InvalidJobDefinition, match=r"meta\.json: job is not what its settings export to"):
        send(running, _lax(tmp_path))
    job_id = send(lying, _lax(tmp_path))
    assert lying.session.wait(job_id, each=lying.federation.check) != "FINISHED:COMPLETED"
    _no_site_began(lying, job_id)


def test_a_job_builds_no_class_that_would_open_a_door(running: Running, lying: Running, tmp_path: Path) -> None:
    folders = {name: _edited(tmp_path, name, side, edit) for name, (side, edit) in CLASSES.items()}
    for name, folder in folders.items():
        with pytest.raises(InvalidJobDefinition, match=f"config_fed_{CLASSES[name][0]}.json: job is not what"):
            send(running, folder)
    ids = {name: send(lying, folder) for name, folder in folders.items()}
    for name, job_id in ids.items():
        assert lying.session.wait(job_id, each=lying.federation.check) != "FINISHED:COMPLETED", name
        _no_site_began(lying, job_id)


def test_an_administrator_reads_nothing_at_a_site(running: Running, tmp_path: Path) -> None:
    """Every command that reaches into a hospital, typed by the lead whose jobs run there."""
    site, api, job_id = min(running.kits.sites), running.session._session, _ended(running, tmp_path)
    log = '{"version": 1, "handlers": {"mine": {"()": "os.system", "command": "true"}}}'
    commands = (
        f"pwd {site}",
        f"ls {site}",
        f"cat {site} log.txt",
        f"head {site} log.txt",
        f"tail {site} log.txt",
        f"grep {site} site log.txt",
        f"report_env {site}",
        f"configure_site_log client {site} debug",
        f"configure_job_log {job_id} client {site} {shlex.quote(log)}",
        f"get_job_log {job_id} {site}",
        f"call {site} anything",
    )
    for command in commands:
        answer = repr(api.do_command(command))
        assert str(running.kits.sites[site]) not in answer, command
        assert any(word in answer.lower() for word in _CLOSED), f"{command}: {answer}"


_CLOSED = ("not authorized", "command call not found", "'logs': {}, 'unavailable': {'city-hospital':")
"""A lead may ask for the log of its own job, and the server has none of a hospital's."""


def test_what_went_wrong_at_a_site_stays_there(running: Running, tmp_path: Path) -> None:
    """An exception whose text holds a hospital's path and content; only the hospital's own log has them."""
    site, *others = sorted(running.hospitals)
    policy = running.kits.sites[site] / "local" / SITE_FILE
    before = policy.read_text()
    index = Path(running.hospitals[site].config).parent / "index"
    broken = tmp_path / MARK
    broken.mkdir()
    for path in index.rglob("*.json*"):
        target = broken / path.relative_to(index)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(MARK + " DOE^JANE")
    assert str(index) in before
    policy.write_text(before.replace(str(index), str(broken)))
    try:
        folder = export_job(named("broken", federation={"rounds": 1, "local_baseline": False}), tmp_path)
        job_id = running.session.submit(folder)
        status = running.session.wait(job_id, each=running.federation.check)
        events = _events(running, job_id, tmp_path / "results")
        errors = running.session._session.show_errors(job_id, "all") if status.startswith("RUNNING") else {}
    finally:
        policy.write_text(before)
    assert status == "FINISHED:COMPLETED"
    assert [event["site"] for event in events if event["event"] == "declined"] == [site]
    assert next(event["sites"] for event in events if event["event"] == "round") == others
    assert MARK not in json.dumps(events) + json.dumps(errors, default=str)
    assert MARK in _site_logs(running, site), "the hospital's own log says what went wrong"
    logs = _server_files(running)
    for secret in (MARK, "DOE^JANE", str(index), str(Path(running.hospitals[site].config).parent)):
        assert not [str(path) for path, content in logs.items() if secret.encode() in content]


def test_no_pseudonym_or_path_of_any_hospital_is_at_the_server(running: Running) -> None:
    """After every job of this module: not one patient's pseudonym, image name or folder in any file of the server's."""
    content = b"\n".join(_server_files(running).values())
    for hospital in running.hospitals.values():
        assert str(Path(hospital.config).parent).encode() not in content
        for row in hospital.manifest.rows:
            for name in (row.patient, row.study, row.image):
                assert name.encode() not in content
