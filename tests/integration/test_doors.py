"""Doors other than the two that have gates, each tried in a real federation and each found closed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedward.flare.app import SITE_FILE
from fedward.flare.job import export_job
from fedward.metrics.events import EVENTS_FILE, EventReader
from tests.integration.conftest import Running
from tests.integration.test_federation import named

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
"""Classes of FLARE's own that would open a door, each named by a job of its own."""


def _edited(running: Running, out: Path, name: str, side: str, edit: Edit) -> str:
    folder = export_job(named(name, federation={"rounds": 1, "local_only": False}), out)
    config = folder / "app" / "config" / f"config_fed_{side}.json"
    content = json.loads(config.read_text())
    edit(content)
    config.write_text(json.dumps(content))
    return running.session.submit(folder)


def _server_files(running: Running) -> dict[Path, bytes]:
    files = [path for path in running.kits.server.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files}


def _site_logs(running: Running, site: str) -> str:
    return "".join(path.read_text(errors="replace") for path in running.kits.sites[site].rglob("*log*.txt"))


def _events(running: Running, job_id: str, out: Path) -> list[dict[str, Any]]:
    return list(EventReader(running.session.download(job_id, out) / EVENTS_FILE))


def _lax(running: Running, out: Path) -> str:
    """A job that asks for another privacy scope, after it has ended."""
    folder = export_job(named("lax", federation={"rounds": 1, "local_only": False}), out)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"scope": "lax"}))
    job_id = running.session.submit(folder)
    assert running.session.wait(job_id, each=running.federation.check) != "FINISHED:COMPLETED"
    return job_id


def test_a_job_picks_no_other_scope(running: Running, tmp_path: Path) -> None:
    """FLARE lets a job name its privacy scope; at a site with one scope any other name is refused before it starts."""
    job_id = _lax(running, tmp_path)
    for site, kit in running.kits.sites.items():
        assert not (kit / job_id / "app_" / "config").exists()
        assert not list((kit / job_id).rglob("events.jsonl")), f"{site} began the job"
    assert any(b"privacy scope 'lax' is not allowed" in content for content in _server_files(running).values())


def test_a_job_builds_no_class_that_would_open_a_door(running: Running, tmp_path: Path) -> None:
    ids = {name: _edited(running, tmp_path, name, side, edit) for name, (side, edit) in CLASSES.items()}
    for name, job_id in ids.items():
        status = running.session.wait(job_id, each=running.federation.check)
        assert status != "FINISHED:COMPLETED", name
        side, _ = CLASSES[name]
        if side == "client":  # no site answered anything
            events = [path for kit in running.kits.sites.values() for path in (kit / job_id).rglob(EVENTS_FILE)]
            assert not events, name
            server = [path for path in running.kits.server.rglob(EVENTS_FILE) if job_id in str(path)]
            assert not any(b'"answered"' in path.read_bytes() for path in server), name


def test_an_administrator_reads_nothing_at_a_site(running: Running, tmp_path: Path) -> None:
    """Every command that reaches into a hospital, typed by the lead whose jobs run there."""
    site, api, job_id = min(running.kits.sites), running.session._session, _lax(running, tmp_path)
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
        folder = export_job(named("broken", federation={"rounds": 1, "local_only": False}), tmp_path)
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
