"""Check ``deploy/``: each file with its own tool, and the required rights, networks and images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import fedward
from fedward.flare.kits.central import provision
from fedward.privacy.policy.canonical_job import JOB_CLASSES
from fedward.provisioning.templates import RESOURCES, change_resources, render
from fedward.settings import FederationSpec, parse, read_site
from tests.support.packages import needs

pytestmark = pytest.mark.slow


@pytest.fixture
def deploy(root: Path) -> Path:
    return root / "deploy"


def validated(root: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [root / "deploy/validate.sh", folder],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def built(folder: Path) -> list[dict[str, Any]]:
    """Return the objects that kustomize builds from a folder, one a list item."""
    done = subprocess.run(
        ["kubectl", "kustomize", "--load-restrictor", "LoadRestrictionsNone", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_own_tools_find_nothing(root: Path) -> None:
    needs("dclint", "prettier", "kubectl", "systemd", "prometheus", "prometheus-alertmanager")
    done = validated(root, root / "deploy")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("compose/common.yml", "image: ${FEDWARD_IMAGE:?the image, with its version}", "image: fedward:latest"),
        ("kustomize/base/deployment.yaml", "replicas: 1", "replica: 1"),
        ("systemd/fedward@.service", "CapabilityBoundingSet=\n", "CapabilityBoundingSet=~\nProtectSystem=no\n"),
        ("containers/build.sh", "esac", ""),
        ("monitoring/prometheus.yml", "scrape_configs:", "scrapes:"),
        ("monitoring/alerts/service.yml", "summary: The metrics", "summary: {{ $labels.job The metrics"),
        ("monitoring/tests/ScrapeSlow.yml", "3.1 s", "3.2 s"),
        ("monitoring/alertmanager.yml", "receiver: on-call", "receiver: nobody"),
    ],
)
def test_own_tools_find_a_planted_fault(root: Path, tmp_path: Path, name: str, before: str, after: str) -> None:
    needs("dclint", "prettier", "kubectl", "systemd", "prometheus", "prometheus-alertmanager")
    copy = Path(shutil.copytree(root / "deploy", tmp_path / "deploy"))
    text = (copy / name).read_text(encoding="utf-8")
    if name.startswith("systemd"):  # one line lost is still below the bound; without the hardening it is not
        text = "\n".join(line for line in text.splitlines() if not line.startswith(("Protect", "Restrict", "System")))
    assert before in text
    (copy / name).write_text(text.replace(before, after), encoding="utf-8")
    # only the spoilt kind: only its tool runs
    for folder in ("compose", "kustomize", "systemd", "containers", "monitoring"):
        if not name.startswith(folder):
            shutil.rmtree(copy / folder)
            (copy / folder).mkdir()
    done = validated(root, copy)
    assert done.returncode == 1
    assert f"{Path(name).stem.split('.')[0]}" in done.stderr or "overlays" in done.stderr


def test_absent_tool_is_named_here_and_fails_in_continuous_integration(root: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "mktemp", "rm", "find", "cat", "tail", "awk", "basename", "cp", "env"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    empty = tmp_path / "deploy"
    empty.mkdir()
    here = validated(root, empty, PATH=str(tools), FEDWARD_NO_SKIP="0")
    assert here.returncode == 0
    assert "not installed: dclint (Debian; deploy/packages.sh installs it)" in here.stderr
    assert validated(root, empty, PATH=str(tools), FEDWARD_NO_SKIP="1").returncode == 1


def test_needs_fails_where_nothing_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("FEDWARD_NO_SKIP", "0")
    with pytest.raises(pytest.skip.Exception) as skipped:
        needs("dclint")
    assert skipped.value.msg == "not installed: dclint (Debian; deploy/packages.sh installs it)"
    monkeypatch.setenv("FEDWARD_NO_SKIP", "1")
    with pytest.raises(pytest.fail.Exception, match="not installed: dclint"):
        needs("dclint")


@pytest.mark.parametrize("overlay", ["server", "clinic", "academic-centre"])
def test_pods_are_restricted_and_networks_are_closed(deploy: Path, overlay: str) -> None:
    needs("kubectl")
    objects = built(deploy / "kustomize/overlays" / overlay)
    kinds = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    kind = "server" if overlay == "server" else "site"
    namespace = next(o for o in objects if o["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"

    pod = kinds["Deployment", f"fedward-{kind}"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
    assert container["image"] == f"localhost/fedward:{fedward.__version__}"
    assert not any(o["data"] for o in objects if o["kind"] == "Secret"), "a key stands in deploy/"

    network = kinds["NetworkPolicy", f"fedward-{kind}"]["spec"]
    assert network["policyTypes"] == ["Ingress", "Egress"]
    if overlay == "server":
        assert network["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8443}]}]
        assert "egress" not in network
    if overlay == "clinic":
        assert "ingress" not in network
        ports = [port["port"] for rule in network["egress"] for port in rule["ports"]]
        assert ports == [8443, 53, 53]
    has_token = overlay == "academic-centre"
    assert pod["automountServiceAccountToken"] is has_token
    assert any(o["kind"] == "Role" for o in objects) is has_token


def test_academic_centre_lets_in_its_own_jobs_alone(deploy: Path) -> None:
    needs("kubectl")
    objects = built(deploy / "kustomize/overlays/academic-centre")
    policies = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "NetworkPolicy"}
    job = {"matchLabels": {"app.kubernetes.io/name": "fedward-job"}}
    assert policies["fedward-site"]["ingress"] == [
        {"from": [{"podSelector": job}], "ports": [{"protocol": "TCP", "port": 8102}]}
    ]
    assert policies["fedward-job"]["podSelector"] == job
    assert "ingress" not in policies["fedward-job"]


def federation(runtime: str, template: str) -> FederationSpec:
    content = {
        "name": "lungs",
        "server": {"host": "fl.example.org", "port": 8555, "organisation": "operator"},
        "hospitals": [{"site": "north-clinic", "organisation": "north", "template": template, "runtime": runtime}],
        "people": [{"email": "operator@example.org", "organisation": "operator", "role": "project_admin"}],
    }
    return parse(FederationSpec, content, where="test")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's real kit."""
    spec = federation("kubernetes", "academic-centre")
    return provision(spec, tmp_path_factory.mktemp("kits")).sites["north-clinic"]


@pytest.mark.parametrize("template", ["clinic", "academic-centre"])
def test_kit_in_its_own_cluster(root: Path, tmp_path: Path, kit: Path, template: str) -> None:
    needs("kubectl")
    spec = federation("kubernetes", template)
    own = Path(shutil.copytree(kit, tmp_path / "kits" / "north-clinic"))
    shutil.copytree(root / "deploy", tmp_path / "deploy")
    kustomization = render(root / "site_templates", spec=spec, hospital=spec.hospitals[0])
    for name, text in kustomization.items():
        (own / "local" / name).write_text(text, encoding="utf-8")
    (own / "local" / "fedward.json").touch()
    # beside the kit, as the file says
    (own.parent / "deploy").symlink_to(tmp_path / "deploy")
    objects = built(own / "local")
    secrets = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "Secret"}
    assert "client.key" in secrets["fedward-startup-site"]
    assert {"site.toml", "privacy.json", "resources.json"} <= secrets["fedward-local-site"].keys()
    policies = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "NetworkPolicy"}
    assert all(policy["egress"][0]["ports"][0]["port"] == 8555 for policy in policies.values())
    deployment = next(o for o in objects if o["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["cpu"] == ("32" if template == "academic-centre" else "4")


def test_pods_for_jobs_are_what_flare_prepares_but_in_a_closed_kit(root: Path, tmp_path: Path, kit: Path) -> None:
    """``nvflare deploy prepare`` starts from ``resources.json.default`` and drops the kit's own: ours is made by us."""
    from nvflare.tool.deploy.deploy_commands import prepare_deployment

    class Arguments:
        def __init__(self, **values: object) -> None:
            self.__dict__.update(values)

    config = tmp_path / "config.yaml"
    parent = {"docker_image": "localhost/fedward:1", "workspace_mount_path": "/kit", "parent_port": 8102}
    launcher = {"default_python_path": "/opt/fedward/bin/python3"}
    content = {"runtime": "k8s", "namespace": "fedward", "parent": parent, "job_launcher": launcher}
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    out = tmp_path / "prepared"
    prepare_deployment(Arguments(kit=str(kit), kit_flag=None, output=str(out), config=str(config)))
    assert not (out / "local" / RESOURCES).exists(), "FLARE keeps resources.json now: its own way may serve"

    spec = federation("kubernetes", "academic-centre")
    hospital = spec.hospitals[0]
    closed = json.loads((kit / "local" / RESOURCES).read_text(encoding="utf-8"))
    ours = change_resources(closed, templates=root / "site_templates", spec=spec, hospital=hospital)
    theirs = json.loads((out / "local" / f"{RESOURCES}.default").read_text(encoding="utf-8"))
    for name in ("resource_manager", "k8s_launcher"):
        mine, stock = (next(c for c in r["components"] if c["id"] == name) for r in (ours, theirs))
        assert mine["args"] == stock["args"]
    assert ours["class_allow_list"] == closed["class_allow_list"] == list(JOB_CLASSES)
    assert ours["allow_log_streaming"] is False

    files = render(root / "site_templates", spec=spec, hospital=hospital)
    comm = json.loads(files["comm_config.json"])
    stock_comm = json.loads((out / "local" / "comm_config.json").read_text(encoding="utf-8"))
    stock_comm["internal"]["resources"]["host"] = "fedward-site"  # the name of our Service
    assert comm == stock_comm
    role = yaml.safe_load(
        (out / "helm_chart/templates/role.yaml").read_text("utf-8").split("rules:")[1].split("---")[0]
    )
    jobs = list(yaml.safe_load_all((root / "deploy/kustomize/overlays/academic-centre/jobs.yaml").read_text("utf-8")))
    assert next(o for o in jobs if o["kind"] == "Role")["rules"] == role


def directives(unit: Path, name: str) -> list[str]:
    """A directive's values in a unit, in order; an empty one begins anew, as systemd has it."""
    found: list[str] = []
    for line in unit.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key == name:
            found = [*found, *value.split()] if value else []
    return found


def test_a_unit_sees_the_kernels_list_of_sockets(deploy: Path) -> None:
    """It shows a parent process which sockets are its own jobs'; without it, the parent accepts no process."""
    assert "ProcSubset" not in (deploy / "systemd/fedward@.service").read_text("utf-8")


def test_a_unit_writes_neither_keys_nor_code_nor_policy(deploy: Path) -> None:
    unit, kit = deploy / "systemd/fedward@.service", "/opt/fedward/kits/%i"
    assert directives(unit, "ProtectSystem") == ["strict"]
    assert directives(unit, "ReadWritePaths") == [kit]
    assert directives(unit, "ReadOnlyPaths") == [f"{kit}/startup", f"{kit}/local"]
    for path in (unit, deploy / "systemd/fedward-dashboard@.service"):
        assert "PYTHONSAFEPATH=1" in directives(path, "Environment")


def test_a_server_with_studies_writes_their_list_alone(deploy: Path, tmp_path: Path) -> None:
    """``local/`` itself is open there: each file of a real server's kit that is code or policy is not."""
    server = provision(federation("systemd", "clinic"), tmp_path).server
    kept = {path.removeprefix("-") for path in directives(deploy / "systemd/studies.conf", "ReadOnlyPaths")}
    due = {path.name for path in (server / "local").iterdir()} - {"privacy.json.sample"}
    assert {f"/opt/fedward/kits/%i/local/{name}" for name in due} | {"/opt/fedward/kits/%i/startup"} <= kept


def test_a_container_writes_neither_keys_nor_code_nor_policy(root: Path, deploy: Path) -> None:
    for name in ("server", "site"):
        compose = yaml.safe_load((deploy / "compose" / f"{name}.yml").read_text("utf-8"))
        volumes = compose["services"][name]["volumes"]
        for folder in ("startup", "local"):
            (mount,) = (volume for volume in volumes if f":/kit/{folder}" in volume)
            assert mount.endswith(f":/kit/{folder}:ro")
    common = yaml.safe_load((deploy / "compose/common.yml").read_text("utf-8"))["services"]["fedward"]
    assert common["environment"] == {"PYTHONSAFEPATH": "1"}
    assert "    PYTHONSAFEPATH=1 \\\n" in (deploy / "containers/Containerfile").read_text(encoding="utf-8")
    deployment = yaml.safe_load((deploy / "kustomize/base/deployment.yaml").read_text("utf-8"))
    spec = federation("kubernetes", "academic-centre")
    rendered = render(root / "site_templates", spec=spec, hospital=spec.hospitals[0])
    pod = yaml.safe_load(rendered["job-pod.yaml"])["spec"]
    for one in (deployment["spec"]["template"]["spec"], pod):
        (container,) = one["containers"]
        assert container["env"] == [{"name": "PYTHONSAFEPATH", "value": "1"}]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert all(mounts[f"/kit/{folder}"]["readOnly"] for folder in ("startup", "local"))


@pytest.mark.parametrize("runtime", ["systemd", "docker", "kubernetes"])
@pytest.mark.parametrize("template", ["clinic", "academic-centre"])
def test_what_a_site_keeps_is_not_where_its_policy_is(root: Path, tmp_path: Path, runtime: str, template: str) -> None:
    """Key, ledger, roster and approvals are written at run time; ``local/`` is read-only."""
    spec = federation(runtime, template)
    local = tmp_path / "kit" / "local"
    local.mkdir(parents=True)
    text = render(root / "site_templates", spec=spec, hospital=spec.hospitals[0])["site.toml"]
    (local / "site.toml").write_text(text, encoding="utf-8")
    policy = read_site(local / "site.toml")
    for path in (policy.key, policy.ledger, policy.roster, policy.approvals, policy.cohorts["chest"].index):
        assert path is not None
        assert not path.resolve().is_relative_to(local)


def test_nothing_moves_under_its_name(deploy: Path) -> None:
    """No `latest`, no image without a version, no password."""
    for path in deploy.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert ":latest" not in text, path
            assert "password" not in text.lower(), path
    assert "ARG BASE\nFROM ${BASE}\n" in (deploy / "containers/Containerfile").read_text(encoding="utf-8")


def test_server_publishes_one_port_and_a_site_none(deploy: Path) -> None:
    server, site = (yaml.safe_load((deploy / "compose" / f"{n}.yml").read_text("utf-8")) for n in ("server", "site"))
    assert len(server["services"]["server"]["ports"]) == 1
    assert "ports" not in site["services"]["site"]
    for compose in (server, site):
        (service,) = compose["services"].values()
        assert service["extends"] == {"file": "common.yml", "service": "fedward"}
        assert all(volume.endswith(":ro") for volume in service["volumes"] if "FEDWARD_KIT" in volume)
