"""A site's own handlers of DEPLOY and START_JOB, with FLARE's below: one form is taken, whatever a server sends."""

from __future__ import annotations

import io
import json
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nvflare.private.admin_defs import Message, MsgHeader, ReturnCode
from nvflare.private.defs import TrainingTopic
from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors
from nvflare.private.fed.client.scheduler_cmds import StartJobProcessor
from nvflare.private.fed.client.training_cmds import DeployProcessor

from fedward.flare.job_checks import site
from fedward.flare.job_checks.site import SITE_PROCESSORS, CanonicalDeploy, CanonicalStart
from fedward.flare.kits.central import Kits
from fedward.settings import JobSpec
from tests.support.flare.submitted import JOB_ID, Change, SiteEngine, app_archive, deploy, meta_of, start, submitted
from tests.unit.flare.test_submitter import LEAD, OTHER, a_job, federation, sign


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return federation(tmp_path_factory.mktemp("kits"))


@pytest.fixture
def engine(kits: Kits, tmp_path: Path) -> SiteEngine:
    return SiteEngine(Path(shutil.copytree(kits.sites["clinic"], tmp_path / "kit")), "clinic")


@pytest.fixture(scope="module")
def app(kits: Kits, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An ordinary job of the lead's."""
    return app_archive(submitted(a_job(), tmp_path_factory.mktemp("job"), kits.people[LEAD]))


def deployed(engine: SiteEngine, request: Message) -> bool:
    return bool(CanonicalDeploy().process(request, engine).get_header(MsgHeader.RETURN_CODE) == ReturnCode.OK)


def begun(engine: SiteEngine, request: Message) -> bool:
    CanonicalStart().process(request, engine)
    return bool(engine.started)


def nothing_left(engine: SiteEngine) -> bool:
    return not (Path(engine.args.workspace) / JOB_ID).exists() and not engine.started


def test_they_stand_for_flares_own_two_handlers() -> None:
    assert [
        issubclass(ours, theirs)
        for ours, theirs in zip(SITE_PROCESSORS, (DeployProcessor, StartJobProcessor), strict=True)
    ]
    topics = [topic for one in SITE_PROCESSORS for topic in one().get_topics()]
    assert topics == [TrainingTopic.DEPLOY, TrainingTopic.START_JOB]
    for topic in topics:
        assert len([one for one in ClientRequestProcessors.request_processors if topic in one.get_topics()]) == 1


def test_an_ordinary_job_is_deployed_and_started(engine: SiteEngine, app: bytes) -> None:
    meta = meta_of(a_job())
    assert deployed(engine, deploy(app, meta))
    later = meta | {"status": "DISPATCHED", "job_clients": [{"name": "clinic"}], "schedule_count": 1}
    assert begun(engine, start(later))
    assert engine.started == [JOB_ID]


def _config(side: str, edit: Callable[[dict[str, Any]], object]) -> Change:
    def change(folder: Path) -> None:
        path = folder / "app" / "config" / f"config_fed_{side}.json"
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content, indent=2) + "\n")

    return change


def _file(name: str, text: str = "{}") -> Change:
    def change(folder: Path) -> None:
        path = folder / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return change


def _renamed(old: str, new: str) -> Change:
    return lambda folder: (folder / "app" / old).rename(folder / "app" / new)


_STORE = {"path": "fedward.flare.storage.KitStorage", "args": {"folder": "marker"}}
BY_HAND: dict[str, Change] = {
    "a component of ours": _config("client", lambda c: c["components"].append({"id": "x", **_STORE})),
    "an executor of ours": _config("client", lambda c: c["executors"][0].update(executor=_STORE)),
    "an argument": _config("client", lambda c: c["executors"][0]["executor"].update(args={"x": _STORE})),
    "a filter": _config("client", lambda c: c["task_data_filters"].append({"tasks": ["*"], "filters": [_STORE]})),
    "the server's": _config("server", lambda c: c["components"].append({"id": "x", **_STORE})),
    "a variable": _config("client", lambda c: c.update(x="{HOME}")),
    "HOCON beside": _file("config/config_fed_client.conf", 'include url("http://127.0.0.1:1/x")\n'),
    "HOCON alone": _renamed("config/config_fed_client.json", "config/config_fed_client.conf"),
    "YAML beside": _file("config/config_fed_client.yml"),
    "a default": _renamed("config/config_fed_client.json", "config/config_fed_client.json.default"),
    "code": _file("custom/mine.py", "raise SystemExit"),
    "an empty custom": lambda folder: (folder / "app" / "custom").mkdir(),
    "settings of FLARE": _file("config/comm_config.json"),
    "logging": _file("config/log_config.json"),
    "a spaced job.json": _file("config/job.json", json.dumps({"job": {}})),
    "an unknown setting": _file("config/job.json", "[]"),
    "a file in the app": _file("more.json"),
    "a study by hand": _file("config/study.json", '{"study": "chest"}'),
}


@pytest.mark.parametrize("way", BY_HAND)
def test_a_job_that_was_written_by_hand_and_signed_by_a_lead(
    engine: SiteEngine, kits: Kits, tmp_path: Path, way: str
) -> None:
    """The server lets all through; FLARE's own handler would deploy them."""
    folder = submitted(a_job(), tmp_path / "job", kits.people[LEAD], change=BY_HAND[way])
    assert not deployed(engine, deploy(app_archive(folder), meta_of(a_job())))
    assert not begun(engine, start(meta_of(a_job())))
    assert nothing_left(engine)


def test_flares_own_handler_takes_what_ours_refuses(engine: SiteEngine, kits: Kits, tmp_path: Path) -> None:
    """Were this to fail, FLARE has closed it, and the tests here would pass without our handlers."""
    for way, who in (("a component of ours", LEAD), ("HOCON beside", LEAD), ("a default", "reader@clinic.org")):
        folder = submitted(a_job(), tmp_path / way, kits.people[who], change=BY_HAND[way])
        reply = DeployProcessor().process(deploy(app_archive(folder), meta_of(a_job())), engine)
        assert reply.get_header(MsgHeader.RETURN_CODE) == ReturnCode.OK, way


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
def test_a_job_that_is_signed_by_one_who_may_not(
    engine: SiteEngine, kits: Kits, tmp_path: Path, who: str | None, key: str
) -> None:
    """Canonical in every byte; with the policy as it is, which admits any job."""
    kit = None if who is None else {"server": kits.server, **kits.sites, **kits.people}[who]
    folder = submitted(a_job(), tmp_path / "job", kit, who=key)
    assert not deployed(engine, deploy(app_archive(folder), meta_of(a_job())))
    assert nothing_left(engine)


def test_a_job_of_two_hands_or_half_signed(engine: SiteEngine, kits: Kits, tmp_path: Path) -> None:
    folder = submitted(a_job(), tmp_path / "two", kits.people[LEAD])
    sign(folder / "app" / "config", kits.people[OTHER])
    assert not deployed(engine, deploy(app_archive(folder), meta_of(a_job())))
    folder = submitted(a_job(), tmp_path / "half", kits.people[LEAD])
    (folder / "app" / "config" / ".__nvfl_sig.json").unlink()
    assert not deployed(engine, deploy(app_archive(folder), meta_of(a_job())))
    assert nothing_left(engine)


def test_a_signed_job_is_not_put_together_with_another(
    engine: SiteEngine, kits: Kits, tmp_path: Path, app: bytes
) -> None:
    """The settings of one job below the signature of another."""
    other = submitted(a_job(seed=8), tmp_path / "other", kits.people[LEAD])
    one = zipfile.ZipFile(io.BytesIO(app))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as mixed:
        for name in one.namelist():
            content = one.read(name)
            mixed.writestr(name, (other / "app" / name).read_bytes() if name.endswith("job.json") else content)
    assert not deployed(engine, deploy(out.getvalue(), meta_of(a_job())))
    assert nothing_left(engine)


@pytest.mark.parametrize(
    "more",
    [
        *(
            {"scope": "lax"},
            {"byoc": True},
            {"launcher_spec": {}},
            {"resource_spec": {"clinic": {}}},
            {"study": "chest"},
        ),
        *({"stats_pool_config": {}}, {"custom_props": {}}, {"deploy_map": {"app": ["other", "server"]}}, {"x": 1}),
    ],
)
def test_a_servers_words_are_a_closed_list(engine: SiteEngine, app: bytes, more: dict[str, Any]) -> None:
    assert not deployed(engine, deploy(app, meta_of(a_job()) | more))
    assert nothing_left(engine)
    assert deployed(engine, deploy(app, meta_of(a_job())))
    assert not begun(engine, start(meta_of(a_job()) | more))


@pytest.mark.parametrize("job_id", ["startup", "..", "../kit/local", "", None, 7, JOB_ID.upper()])
def test_a_job_id_is_no_folder_of_the_kit(engine: SiteEngine, app: bytes, job_id: Any) -> None:
    """FLARE's handler removes the folder of that name first."""
    before = sorted(Path(engine.args.workspace).rglob("*"))
    assert not deployed(engine, deploy(app, meta_of(a_job(), job_id=job_id), job_id=job_id))
    assert sorted(Path(engine.args.workspace).rglob("*")) == before


def test_another_name_of_the_app_is_refused(engine: SiteEngine, app: bytes) -> None:
    assert not deployed(engine, deploy(app, meta_of(a_job()), app_name="../app"))


@pytest.mark.parametrize("body", [None, "", b"", b"PK", 7, {"a": 1}])
@pytest.mark.parametrize("meta", [None, [], "x", {}, meta_of(a_job())])
def test_a_request_that_is_none(engine: SiteEngine, body: Any, meta: Any) -> None:
    assert not deployed(engine, deploy(body, meta))
    assert nothing_left(engine)


def test_a_job_that_is_just_ending_is_deployed_once_it_has(engine: SiteEngine, app: bytes) -> None:
    """A person aborts a job and has it resumed at once, while its process at the site still ends."""
    assert deployed(engine, deploy(app, meta_of(a_job())))
    engine.running.append(JOB_ID)
    ends = threading.Timer(0.3, engine.running.remove, [JOB_ID])
    ends.start()
    assert deployed(engine, deploy(app, meta_of(a_job())))
    ends.join()


def test_a_job_that_runs_is_not_deployed_over(engine: SiteEngine, app: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "ENDS_WITHIN_S", 0.2)
    assert deployed(engine, deploy(app, meta_of(a_job())))
    engine.running.append(JOB_ID)
    mark = Path(engine.args.workspace) / JOB_ID / "mark"
    mark.touch()
    assert not deployed(engine, deploy(app, meta_of(a_job())))
    assert mark.exists()


@pytest.mark.parametrize("work", ["deploy_app", "start_app"])
@pytest.mark.parametrize("fails", [False, True])
def test_while_a_job_is_deployed_or_started_no_other_request_for_its_id_is_taken(
    engine: SiteEngine, app: bytes, monkeypatch: pytest.MonkeyPatch, work: str, fails: bool
) -> None:
    """FLARE's own work takes time, and says that a job runs only later; another thread asks meanwhile."""
    other = "0b0c4ab1-4c7e-4f0a-9a70-0d7a8f7f9b11"
    own, asked, answers = getattr(engine, work), [], []

    def busy(*args: Any, **named: Any) -> Any:
        if not asked:
            asked.append(work)
            answers.append(deployed(engine, deploy(app, meta_of(a_job()))))
            engine.started.clear()
            answers.append(begun(engine, start(meta_of(a_job()))))
            answers.append(deployed(engine, deploy(app, meta_of(a_job(), job_id=other), job_id=other)))
            if fails:
                raise OSError("disk")
        return own(*args, **named)

    if work == "start_app":
        assert deployed(engine, deploy(app, meta_of(a_job())))
    with monkeypatch.context() as patch:
        patch.setattr(engine, work, busy)
        try:
            if work == "start_app":
                CanonicalStart().process(start(meta_of(a_job())), engine)
            else:
                CanonicalDeploy().process(deploy(app, meta_of(a_job())), engine)
        except OSError:
            assert fails
    assert answers == [False, False, True], "another id is not kept waiting"
    engine.started.clear()
    assert deployed(engine, deploy(app, meta_of(a_job()))) and begun(engine, start(meta_of(a_job())))


def _in_run(name: str, text: str) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return change


def _linked(run: Path) -> None:
    path = run / "app_clinic" / "config" / "job.json"
    path.rename(run.parent / "job.json")
    path.symlink_to(run.parent / "job.json")


def _another_job(run: Path) -> None:
    """Canonical in itself, and not what was deployed."""
    from fedward.privacy.policy.canonical_job import app_files

    for name, content in app_files(a_job(seed=9)).items():
        (run / "app_clinic" / name).write_bytes(content)


BETWEEN: dict[str, Callable[[Path], object]] = {
    "a config": _in_run("app_clinic/config/config_fed_client.json", "{}"),
    "HOCON": _in_run("app_clinic/config/config_fed_client.conf", "{}"),
    "code": _in_run("app_clinic/custom/mine.py", ""),
    "code in the run folder": _in_run("mine.py", ""),
    "another app": _in_run("fl_app.txt", "other"),
    "meta": _in_run("meta.json", json.dumps(meta_of(a_job(), byoc=True))),
    "no meta": lambda run: (run / "meta.json").unlink(),
    "no app": lambda run: shutil.rmtree(run / "app_clinic"),
    "a link": _linked,
    "another job": _another_job,
    "nothing at all": shutil.rmtree,
}


@pytest.mark.parametrize("way", BETWEEN)
def test_what_was_changed_after_it_was_deployed_is_not_started(engine: SiteEngine, app: bytes, way: str) -> None:
    assert deployed(engine, deploy(app, meta_of(a_job())))
    BETWEEN[way](Path(engine.args.workspace) / JOB_ID)
    assert not begun(engine, start(meta_of(a_job())))


def test_what_was_not_deployed_here_or_asks_for_more_is_not_started(
    engine: SiteEngine, app: bytes, kits: Kits, tmp_path: Path
) -> None:
    other = "0b0c4ab1-4c7e-4f0a-9a70-0d7a8f7f9b11"
    assert not begun(engine, start(meta_of(a_job(), job_id=other), job_id=other))
    assert deployed(engine, deploy(app, meta_of(a_job())))
    assert not begun(engine, start(meta_of(a_job()), resources={"num_of_gpus": 1}))
    assert not begun(engine, start(meta_of(a_job(), submitter_name="another")))
    assert begun(engine, start(meta_of(a_job())))


def test_a_check_that_throws_refuses(engine: SiteEngine, app: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each function that the checks call, throwing what nobody expected."""

    def odd(*_: object, **__: object) -> None:
        raise MemoryError("DOE-JANE")

    for name in ("require_app", "require_reported", "require_signer"):
        with monkeypatch.context() as patch:
            patch.setattr(f"fedward.flare.job_checks.form.{name}", odd)
            reply = CanonicalDeploy().process(deploy(app, meta_of(a_job())), engine)
            assert reply.get_header(MsgHeader.RETURN_CODE) != ReturnCode.OK
            assert "DOE" not in str(reply.body)
            assert nothing_left(engine)
    assert deployed(engine, deploy(app, meta_of(a_job())))
    for name in ("require_laid_out", "require_unchanged", "_digest"):
        with monkeypatch.context() as patch:
            patch.setattr(f"fedward.flare.job_checks.site.{name}", odd)
            assert not begun(engine, start(meta_of(a_job())))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_byte_of_what_the_server_sends_is_refused_or_changes_nothing(
    engine: SiteEngine, app: bytes, data: st.DataObject
) -> None:
    """Zip has bytes that say nothing of a job, such as a time: where one of them differs, what is deployed does not."""
    changed = bytearray(app)
    at = data.draw(st.integers(0, len(app) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    if deployed(engine, deploy(bytes(changed), meta_of(a_job()))):
        whole = zipfile.ZipFile(io.BytesIO(app))
        files = {name: whole.read(name) for name in whole.namelist() if not name.endswith("/")}
        run = Path(engine.args.workspace) / JOB_ID / "app_clinic"
        assert {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file()} == files


def test_every_job_of_the_repository_is_taken(engine: SiteEngine, kits: Kits, tmp_path: Path, root: Path) -> None:
    from fedward.settings import read_job

    for path in sorted((root / "jobs").glob("*/job.toml")):
        job: JobSpec = read_job(path.parent)
        for study in (None, "chest"):
            folder = submitted(job, tmp_path / f"{job.job.name}-{study}", kits.people[LEAD], study=study)
            assert deployed(engine, deploy(app_archive(folder), meta_of(job, study=study or "default")))
            engine.started.clear()
            assert begun(engine, start(meta_of(job, study=study or "default")))
