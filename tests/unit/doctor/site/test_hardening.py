"""Whatever opens a kit again is found, by the check that is meant for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedward.doctor.checks import CHECKS
from fedward.doctor.context import Case
from fedward.doctor.site import hardening
from tests.support.doctor_case import case_of, change, levels, write_kit

DOORS = {check.name: check.look for check in CHECKS if check.room == "side doors" or check.name == "startup-files"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kit(tmp_path_factory.mktemp("made") / "kit")


@pytest.fixture
def kit(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "kit"))


def unsound(case: Case) -> dict[str, set[str]]:
    """Levels of each check that does not merely pass."""
    found = {name: list(look(case)) for name, look in DOORS.items()}
    assert all(one.remedy for said in found.values() for one in said if one.level in ("warn", "fail"))
    return {name: levels(said) for name, said in found.items() if levels(said) != {"pass"}}


def resources(**values: Any) -> Callable[[Path], None]:
    return lambda kit: change(kit / "local" / "resources.json", lambda content: content.update(values))


def doors_of(how: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    return lambda kit: change(kit / "local" / "resources.json", lambda content: how(content["components"]))


def component(path: str) -> Callable[[Path], None]:
    def add(content: dict[str, Any]) -> None:
        content["components"].append({"id": "added", "path": path, "args": {}})

    return lambda kit: change(kit / "local" / "resources.json", add)


def right(role: str, name: str, extent: str | None) -> Callable[[Path], None]:
    def grant(content: dict[str, Any]) -> None:
        content["permissions"][role][name] = extent
        if extent is None:
            del content["permissions"][role][name]

    return lambda kit: change(kit / "local" / "authorization.json", grant)


def file(name: str, text: str = "{}") -> Callable[[Path], None]:
    def write(kit: Path) -> None:
        (kit / name).parent.mkdir(parents=True, exist_ok=True)
        (kit / name).write_text(text, encoding="utf-8")

    return write


def no_file(name: str) -> Callable[[Path], None]:
    return lambda kit: (kit / name).unlink()


def privacy(how: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    return lambda kit: change(kit / "local" / "privacy.json", how)


def log_handler(kit: Path) -> None:
    def send(content: dict[str, Any]) -> None:
        content["handlers"]["away"] = {"class": "logging.handlers.HTTPHandler", "host": "x", "url": "/"}

    default = kit / "local" / "log_config.json.default"
    (kit / "local" / "log_config.json").write_bytes(default.read_bytes())
    change(kit / "local" / "log_config.json", send)


def test_a_kit_as_it_is_made_is_closed(kit: Path) -> None:
    assert unsound(case_of(kit)) == {}


STREAMER = "nvflare.app_common.logging.site_log_streamer.SiteLogStreamer"
CASES: list[tuple[Callable[[Path], None], dict[str, set[str]]]] = [
    (resources(class_list_enforcement_mode="warn"), {"class-allow-list": {"fail"}}),
    (resources(class_list_enforcement_mode=None), {"class-allow-list": {"fail"}}),
    (resources(class_allow_list=["*"]), {"class-allow-list": {"fail"}}),
    (resources(class_allow_list=["fedward.flare."]), {"class-allow-list": {"fail"}}),
    (component("fedward.flare.storage.KitStorage"), {"components": {"fail"}}),
    (resources(class_allow_list=[]), {"class-allow-list": {"fail"}}),
    (resources(class_allow_list=7), {"class-allow-list": {"fail"}}),
    (resources(allow_log_streaming=True), {"log-streaming": {"fail"}}),
    (resources(allow_log_streaming="false"), {"log-streaming": {"fail"}}),
    (resources(allow_log_streaming=0), {"log-streaming": {"fail"}}),
    (component(STREAMER), {"log-streaming": {"fail"}}),
    (component("nvflare.app_common.logging.job_log_streamer.JobLogStreamer"), {"log-streaming": {"fail"}}),
    (component("elsewhere.Anything"), {"components": {"fail"}}),
    (component("nvflare.app_opt.job_launcher.docker_launcher.DockerJobLauncher"), {"components": {"fail"}}),
    (component("fedward.flare.k8s_launcher.SitePods"), {}),
    (resources(handlers=[{"path": "elsewhere.Anything"}]), {"components": {"fail"}}),
    (
        file("local/resources.json", "not JSON"),
        {"class-allow-list": {"fail"}, "log-streaming": {"fail"}, "site-door": {"fail"}},
    ),
    (doors_of(lambda c: c.pop(0)), {"site-door": {"fail"}}),
    (doors_of(lambda c: c.append(c.pop(0))), {"site-door": {"fail"}}),
    (doors_of(lambda c: c[0].update(args={"lax": True})), {"site-door": {"fail"}}),
    (doors_of(list.clear), {"site-door": {"fail"}}),
    (resources(components=None), {"site-door": {"fail"}}),
    (right("lead", "shell_commands", "o:site"), {"authorization": {"fail"}}),
    (right("lead", "byoc", "any"), {"authorization": {"fail"}}),
    (right("member", "submit_job", "any"), {"authorization": {"fail"}}),
    (right("lead", "byoc", None), {"authorization": {"fail"}}),
    (right("lead", "invented", "any"), {"authorization": {"fail"}}),
    (right("lead", "submit_job", "none"), {"authorization": {"warn"}}),
    (right("lead", "invented", "none"), {"authorization": {"warn"}}),
    (lambda kit: change(kit / "local/authorization.json", lambda c: c["permissions"].update(guest={"view": "any"})),
     {"authorization": {"fail"}}),
    (lambda kit: change(kit / "local/authorization.json", lambda c: c["permissions"].update(lead="any")),
     {"authorization": {"fail"}}),
    (file("local/authorization.json", "[]"), {"authorization": {"fail"}}),
    (no_file("local/privacy.json"), {"privacy-scope": {"fail"}}),
    (privacy(lambda c: c["scopes"].append({"name": "lax"})), {"privacy-scope": {"fail"}}),
    (privacy(lambda c: c["scopes"][0].update(task_result_filters=[])), {"privacy-scope": {"fail"}}),
    (privacy(lambda c: c.update(default_scope="other")), {"privacy-scope": {"fail"}}),
    (file("local/custom/mine.py", "x = 1"), {"custom-code": {"fail"}}),
    (file("local/custom/deep/er/mine.so", ""), {"custom-code": {"fail"}}),
    (file("local/job_resources.json"), {"side-files": {"fail"}}),
    (file("local/own__resources.json"), {"side-files": {"fail"}}),
    (file("local/own__p_resources.json"), {"side-files": {"fail"}}),
    (file("startup/own__j_resources.json"), {"side-files": {"fail"}}),
    (file("local/comm_config.json", '{"allow_adhoc_conns": true}'), {"side-files": {"warn"}}),
    (file("local/comm_config.json", "not JSON"), {"side-files": {"warn"}}),
    (
        file("local/comm_config.json", '{"internal": {"resources": {"connection_security": "clear"}}}'),
        {"side-files": {"warn"}},
    ),
    (file("local/comm_config.json", '{"allow_adhoc_conns": false, "backbone_conn_gen": 2}'), {}),
    (log_handler, {"log-config": {"warn"}}),
    (file("local/log_config.json", '{"handlers": {"x": {"()": "elsewhere.Sender"}}}'), {"log-config": {"warn"}}),
    (file("local/log_config.json", "not JSON"), {"log-config": {"fail"}}),
    (file("startup/sub_start.sh", "exec something else"), {"startup-files": {"warn"}}),
    (no_file("startup/start.sh"), {"startup-files": {"warn"}}),
    (file("startup/signature.json"), {"startup-files": {"fail"}}),
]  # fmt: skip


@pytest.mark.parametrize(("open_", "due"), CASES)
def test_each_opening_is_found_where_it_is(kit: Path, open_: Callable[[Path], None], due: dict[str, set[str]]) -> None:
    open_(kit)
    assert unsound(case_of(kit)) == due


def test_an_environment_that_overrules_the_kit_is_found(kit: Path) -> None:
    case = case_of(kit, environment={"NVFLARE_ALLOW_LOG_STREAMING": "true"})
    assert unsound(case) == {"log-streaming": {"fail"}}


def test_without_its_own_file_a_site_has_flares_default(kit: Path) -> None:
    """Where FLARE's default is as FLARE ships it, a missing file of ours leaves the site open."""
    for name in ("resources.json", "authorization.json"):
        (kit / "local" / name).unlink()
        file(f"local/{name}.default", '{"components": [], "permissions": {}}')(kit)
    assert set(unsound(case_of(kit))) == {"class-allow-list", "log-streaming", "site-door", "authorization"}


def test_flare_reads_exactly_the_files_that_are_looked_for() -> None:
    """A release of FLARE that reads more must not go unnoticed."""
    from nvflare.apis.fl_constant import WorkspaceConstants

    patterns = {
        WorkspaceConstants.RESOURCE_FILE_NAME_PATTERN,
        WorkspaceConstants.PARENT_RESOURCE_FILE_NAME_PATTERN,
        WorkspaceConstants.JOB_RESOURCE_FILE_NAME_PATTERN,
        WorkspaceConstants.JOB_RESOURCES_CONFIG,
    }
    assert patterns == set(hardening._EXTRA)
