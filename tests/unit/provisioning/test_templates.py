"""Every template with every runtime gives a strict policy and files that fit; a template cannot open a kit."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedward.errors import SettingsError
from fedward.privacy.policy.review import review
from fedward.provisioning.templates import change_resources, render
from fedward.settings import FederationSpec, Hospital, SitePolicy, parse, read_site

COMBINATIONS = list(itertools.product(("clinic", "academic-centre"), ("systemd", "docker", "kubernetes")))
CLOSED: dict[str, Any] = {
    "format_version": 2,
    "class_list_enforcement_mode": "enforce",
    "class_allow_list": ["fedward.flare.site.executor.HospitalExecutor"],
    "allow_log_streaming": False,
    "components": [
        {"id": "resource_manager", "path": "stock", "args": {}},
        {"id": "resource_consumer", "path": "stock", "args": {}},
        {"id": "process_launcher", "path": "stock", "args": {}},
    ],
}


@pytest.fixture
def templates(root: Path) -> Path:
    return root / "site_templates"


@pytest.fixture
def own(templates: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(templates, tmp_path / "site_templates"))


def federation(template: str = "clinic", runtime: str = "systemd") -> tuple[FederationSpec, Hospital]:
    content = {
        "name": "lungs",
        "server": {"host": "fl.example.org", "port": 8443, "organisation": "operator"},
        "hospitals": [
            {"site": "north-clinic", "organisation": "north", "template": template, "runtime": runtime},
        ],
        "people": [{"email": "operator@example.org", "organisation": "operator", "role": "project_admin"}],
    }
    spec = parse(FederationSpec, content, where="test")
    return spec, spec.hospitals[0]


def policy(templates: Path, folder: Path, template: str, runtime: str) -> SitePolicy:
    spec, hospital = federation(template, runtime)
    path = folder / "site.toml"
    path.write_text(render(templates, spec=spec, hospital=hospital)["site.toml"], encoding="utf-8")
    return read_site(path)


@pytest.mark.parametrize(("template", "runtime"), COMBINATIONS)
def test_policy_is_strict(templates: Path, tmp_path: Path, template: str, runtime: str) -> None:
    site = policy(templates, tmp_path, template, runtime)
    assert site.site == "north-clinic"
    assert site.approved_jobs == () and site.auto_approve == () and site.approvals is not None
    assert site.federation_key is None and site.roster is not None
    assert site.disclosure.min_count >= 5
    for cohort in site.cohorts.values():
        assert (cohort.privacy.dp, cohort.privacy.encryption) == ("required", "required")
        assert cohort.privacy.delta is not None and cohort.privacy.delta <= 1 / (10 * cohort.min_patients)
    assert [finding for finding in review(site, cohorts={}) if finding.level == "error"] == []


@pytest.mark.parametrize(("template", "runtime"), COMBINATIONS)
def test_every_setting_of_a_hospital_is_explained(templates: Path, template: str, runtime: str) -> None:
    spec, hospital = federation(template, runtime)
    text = render(templates, spec=spec, hospital=hospital)["site.toml"]
    for setting in (
        "approvals",
        "[[auto_approve]]",
        "federation_key_id",
        "min_known",
        ".pacs]",
        "update_clip_norm_l2",
        "masks",
    ):
        assert setting in text
    # a line that sets something follows a comment or another setting's line: nothing stands unexplained
    blocks = [block for block in text.split("\n\n") if block.strip()]
    assert all(block.startswith("#") for block in blocks if not block.startswith("["))


def test_paths_are_where_the_runtime_lets_the_site_write(templates: Path, tmp_path: Path) -> None:
    beside = policy(templates, tmp_path, "clinic", "systemd")
    assert {path.parent for path in (beside.key, beside.ledger, beside.approvals or Path())} == {
        tmp_path.resolve().parent / "state"
    }
    for runtime in ("docker", "kubernetes"):  # local/ is read-only there
        site = policy(templates, tmp_path, "clinic", runtime)
        paths = (site.key, site.ledger, site.approvals, site.roster, site.cohorts["chest"].index)
        assert all(path is not None and path.is_relative_to("/var/lib/fedward") for path in paths)


@pytest.mark.parametrize(("template", "runtime"), COMBINATIONS)
def test_resources_keep_everything_but_the_machines_own(templates: Path, template: str, runtime: str) -> None:
    spec, hospital = federation(template, runtime)
    before = json.dumps(CLOSED)
    changed = change_resources(CLOSED, templates=templates, spec=spec, hospital=hospital)
    assert json.dumps(CLOSED) == before
    assert {k: v for k, v in changed.items() if k != "components"} == {
        k: v for k, v in CLOSED.items() if k != "components"
    }
    components = {component["id"]: component for component in changed["components"]}
    if (template, runtime) == ("academic-centre", "kubernetes"):
        assert set(components) == {"resource_manager", "k8s_launcher"}
        assert components["k8s_launcher"]["path"] == "fedward.flare.k8s_launcher.SitePods"
    else:
        assert set(components) == {"resource_manager", "resource_consumer", "process_launcher"}
        gpus = components["resource_manager"]["args"]["num_of_gpus"]
        assert gpus == (2 if template == "academic-centre" else 0)


def test_only_a_cluster_with_pods_for_jobs_gets_their_files(templates: Path) -> None:
    for template, runtime in COMBINATIONS:
        spec, hospital = federation(template, runtime)
        files = render(templates, spec=spec, hospital=hospital)
        pods = {"comm_config.json", "job-pod.yaml", "study_runtime.yaml"}
        assert (pods <= files.keys()) == ((template, runtime) == ("academic-centre", "kubernetes"))
        assert pods.isdisjoint(files) or pods <= files.keys()
        for name, text in files.items():
            assert text.strip()
            if name.endswith((".yaml", ".yml")):
                assert yaml.safe_load(text)
            if name.endswith(".json"):
                assert json.loads(text)["internal"]["resources"]["connection_security"] == "mtls"


def test_unknown_template_is_one_line(tmp_path: Path) -> None:
    spec, hospital = federation()
    with pytest.raises(SettingsError, match="no template: 'base'") as refused:
        render(tmp_path / "nowhere", spec=spec, hospital=hospital)
    assert "\n" not in str(refused.value)


def test_missing_value_is_an_error_that_names_it(own: Path) -> None:
    values = own / "base" / "values.toml"
    values.write_text(values.read_text("utf-8").replace("min_count = 5\n", ""), encoding="utf-8")
    (own / "academic-centre/values.toml").write_text("", encoding="utf-8")
    spec, hospital = federation()
    with pytest.raises(SettingsError, match="min_count"):
        render(own, spec=spec, hospital=hospital)


def test_value_that_base_does_not_have_is_refused(own: Path) -> None:
    (own / "clinic" / "values.toml").write_text("epsilon_cpa = 99.0\n", encoding="utf-8")
    spec, hospital = federation()
    with pytest.raises(SettingsError, match="no such value: 'epsilon_cpa'"):
        render(own, spec=spec, hospital=hospital)


def test_every_value_is_used(templates: Path) -> None:
    import tomllib

    values = tomllib.loads((templates / "base/values.toml").read_text(encoding="utf-8"))
    text = "".join(path.read_text(encoding="utf-8") for path in templates.rglob("*.jinja"))
    assert [name for name in values if name not in text] == []


@pytest.mark.parametrize(
    "content",
    [
        {"job_manager": {"path": "os.system", "args": {}}},
        {"process_launcher": {"path": "nvflare.app_opt.job_launcher.k8s_launcher.ClientK8sJobLauncher", "args": {}}},
        {"resource_manager": {"path": "os.system", "args": {}}},
        {"resource_manager": {"args": {}}},
        {"site_log_streamer": {"path": "nvflare.app_common.logging.site_log_streamer.SiteLogStreamer", "args": {}}},
        {"class_allow_list": ["nvflare."]},
    ],
)
def test_template_cannot_open_a_kit(own: Path, content: dict[str, Any]) -> None:
    (own / "clinic" / "resources.json.jinja").write_text(json.dumps(content), encoding="utf-8")
    spec, hospital = federation()
    with pytest.raises(SettingsError, match="may not come from a template"):
        change_resources(CLOSED, templates=own, spec=spec, hospital=hospital)


def test_template_that_is_no_json_is_refused(own: Path) -> None:
    (own / "clinic" / "resources.json.jinja").write_text("{", encoding="utf-8")
    spec, hospital = federation()
    with pytest.raises(SettingsError, match="not JSON"):
        change_resources(CLOSED, templates=own, spec=spec, hospital=hospital)
