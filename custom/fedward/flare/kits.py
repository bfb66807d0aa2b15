"""Startup kits: FLARE's own builders, then ours, which closes what Fedward does not use.

In every kit: no code from jobs (BYOC denied to every role), only classes below ``fedward.flare.`` may be built from a
job, no admin shell commands, no streamed logs, storage below the kit's own folder instead of a shared one in /tmp. In
every site's kit: one privacy scope, with Fedward's two gates, through which every task of every job goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import WorkspaceConstants
from nvflare.lighter.constants import ProvFileName
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.signature import SignatureBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provision import prepare_project
from nvflare.lighter.provisioner import Provisioner
from nvflare.lighter.spec import Builder, Project, ProvisionContext

from fedward.errors import FederationError
from fedward.settings import FederationSpec

CLASS_ALLOW_LIST = ("fedward.flare.",)
"""Every class that a job may name starts so; FLARE's own components that a kit needs are named by the kit."""

_ROLES = ("project_admin", "org_admin", "lead", "member")
_RIGHTS: dict[str, tuple[str, str, str, str]] = {
    # right:         project_admin, org_admin, lead, member
    "submit_job": ("any", "none", "any", "none"),
    "clone_job": ("any", "none", "n:submitter", "none"),
    "manage_job": ("any", "o:submitter", "n:submitter", "none"),
    "download_job": ("any", "o:submitter", "n:submitter", "none"),
    "view": ("any", "any", "any", "any"),
    "operate": ("any", "o:site", "o:site", "none"),
    "shell_commands": ("none", "none", "none", "none"),
    # within the categories above, and closed: a log's configuration may name any class to be built at a hospital, and
    # what a hospital's environment is called is nobody's matter
    "configure_job_log": ("none", "none", "none", "none"),
    "configure_site_log": ("none", "none", "none", "none"),
    "report_env": ("none", "none", "none", "none"),
    "call": ("none", "none", "none", "none"),
    "byoc": ("none", "none", "none", "none"),
    "server-predeployed-flwr": ("none", "none", "none", "none"),
}
_STREAMING = "nvflare.app_common.logging.site_log_streamer.SiteLogStreamer"

SCOPE = "fedward"
PRIVACY = {
    "scopes": [
        {
            "name": SCOPE,
            "properties": {},
            "task_data_filters": [{"path": "fedward.flare.ingress.IngressGate", "args": {}}],
            "task_result_filters": [{"path": "fedward.flare.egress.EgressGate", "args": {}}],
        }
    ],
    "default_scope": SCOPE,
}
"""A site's ``local/privacy.json``. A job picks its scope by name: with exactly one there is no laxer one to pick. FLARE
applies a scope's filters to every task, before those of the job."""


@dataclass(frozen=True, slots=True)
class Kits:
    """Where ``provision`` put each participant's startup kit, by the name in its certificate."""

    folder: Path
    server: Path
    sites: dict[str, Path]
    people: dict[str, Path]


class CloseKit(Builder):  # type: ignore[misc]
    """Write each kit's ``local/`` files so that only what Fedward uses is open."""

    def build(self, project: Project, ctx: ProvisionContext) -> None:
        server = project.get_server()
        for participant in [server, *project.get_clients()]:
            local = Path(ctx.get_local_dir(participant))
            change = _server_resources if participant is server else _site_resources
            _close(local, change)
            if participant is not server:
                _write(local / WorkspaceConstants.PRIVACY_CONFIG, PRIVACY)

    def finalize(self, project: Project, ctx: ProvisionContext) -> None:
        """Private keys are for their owner alone."""
        for participant in project.get_all_participants():
            for key in Path(ctx.get_ws_dir(participant)).rglob("*.key"):
                key.chmod(0o600)


def provision(spec: FederationSpec, out: Path) -> Kits:
    """Make certificates and startup kits for every participant of ``spec`` below ``out/<federation>/prod_NN``.

    The certificate authority's key stays in ``out/<federation>/state``: keep it away from the server.

    Raises:
        FederationError: the folder cannot be written, or FLARE refuses a name.
    """
    builders: list[Builder] = [WorkspaceBuilder(), StaticFileBuilder(config_folder="config", scheme="grpc")]
    builders += [CertBuilder(), CloseKit(), SignatureBuilder()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        context = Provisioner(str(out), builders).provision(prepare_project(_project(spec)), logger=_Quiet())
    except OSError as error:
        raise FederationError(str(error.strerror), where=out, remedy="free space or give another folder") from None
    except (ValueError, RuntimeError) as error:
        raise FederationError(f"FLARE's provisioning refused, {error}", where=spec.name) from None
    if context.get("build_error") or not context.get("current_prod_dir"):
        raise FederationError("FLARE's provisioning made no kits", where=out, remedy="look at its messages above")
    folder = Path(context["current_prod_dir"])
    return Kits(
        folder=folder,
        server=folder / spec.server.host,
        sites={hospital.site: folder / hospital.site for hospital in spec.hospitals},
        people={person.email: folder / person.email for person in spec.people},
    )


class _Quiet:
    """FLARE's provisioning talks to a logger or to standard output; errors alone are worth a person's time."""

    def info(self, message: str) -> None:
        pass

    debug = warning = info

    def error(self, message: str) -> None:
        raise FederationError(f"FLARE's provisioning: {message}")


def _project(spec: FederationSpec) -> dict[str, Any]:
    server: dict[str, Any] = {
        "name": spec.server.host,
        "type": "server",
        "org": spec.server.organisation,
        "fed_learn_port": spec.server.port,
        "admin_port": spec.server.port,
    }
    sites = [{"name": h.site, "type": "client", "org": h.organisation} for h in spec.hospitals]
    people = [{"name": p.email, "type": "admin", "org": p.organisation, "role": p.role} for p in spec.people]
    return {
        "api_version": 3,
        "name": spec.name,
        "description": f"Fedward federation {spec.name}",
        "participants": [server, *sites, *people],
    }


def _close(local: Path, change: Callable[[dict[str, Any]], None]) -> None:
    resources = json.loads((local / ProvFileName.RESOURCES_JSON_DEFAULT).read_text(encoding="utf-8"))
    resources["class_list_enforcement_mode"] = "enforce"
    resources["class_allow_list"] = list(CLASS_ALLOW_LIST)
    change(resources)
    rights = {role: {right: _RIGHTS[right][column] for right in _RIGHTS} for column, role in enumerate(_ROLES)}
    for name, content in (
        ("resources.json", resources),
        ("authorization.json", {"format_version": "1.0", "permissions": rights}),
    ):
        _write(local / name, content)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _site_resources(resources: dict[str, Any]) -> None:
    resources["allow_log_streaming"] = False
    resources["components"] = [c for c in resources["components"] if c["path"] != _STREAMING]


def _server_resources(resources: dict[str, Any]) -> None:
    storage = "fedward.flare.storage.KitStorage"
    resources["snapshot_persistor"]["args"]["storage"] = {"path": storage, "args": {"folder": "storage/snapshots"}}
    components = {c["id"]: c for c in resources["components"] if c["id"] != "log_receiver"}
    components["job_manager"]["args"]["uri_root"] = "storage/jobs"
    components["job_store"] |= {"path": storage, "args": {}}
    resources["components"] = list(components.values())
