"""Harden every kit, at the operator and at a hospital: close everything that Fedward does not use.

No code from jobs (BYOC denied to every role); a job may build only the three classes of ``JOB_CLASSES``; no admin shell
commands; no streamed logs; storage below the kit's own folder instead of a shared one in /tmp. Every site's kit has one
privacy scope, with Fedward's two gates, through which every task of every job goes. No allowed TLS 1.2 cipher works
with the kits' RSA keys, so every connection is TLS 1.3. The processes of a kit import no file from its folder and run
no code from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import WorkspaceConstants
from nvflare.lighter.constants import ProvFileName
from nvflare.lighter.spec import Builder, Project, ProvisionContext

from fedward.errors import FederationError
from fedward.flare.kits.permissions import AUTHORIZATION, CLASS_ALLOW_LIST, PRIVACY
from fedward.flare.kits.start_script import close_start, require_start
from fedward.provisioning.invitation import local_name
from fedward.provisioning.participants import Kind
from fedward.provisioning.stamp import STAMP_FILE, make_stamp, package_hash
from fedward.provisioning.templates import RESOURCES, with_components
from fedward.upkeep.kit_files import hashes

SERVER_DOOR = {"id": "server_door", "path": "fedward.flare.listener.server_door.ServerDoor", "args": {}}
SITE_DOOR = {"id": "site_door", "path": "fedward.flare.messages.site_door.SiteDoor", "args": {}}
AUTHORIZATION_FILE = "authorization.json"
_STREAMING = "nvflare.app_common.logging.site_log_streamer.SiteLogStreamer"
_START = "sub_start.sh"
_CUSTOM = "custom"
_KINDS = {"server": Kind.server, "client": Kind.site, "admin": Kind.person}


class HardenKit(Builder):  # type: ignore[misc]
    """FLARE builder that writes each kit's ``local/`` files so that only what Fedward uses is open.

    Args:
        wheel: the operator's package hash, if another machine makes the kit; None: hash of the package that runs.
        files: further files for ``local/``, by participant and name; they replace no other file.
        components: components of ``resources.json`` that a template changes, by participant.
    """

    def __init__(
        self,
        wheel: str | None = None,
        files: Mapping[str, Mapping[str, str]] | None = None,
        components: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self._wheel, self._files, self._components = wheel, files or {}, components or {}

    def build(self, project: Project, ctx: ProvisionContext) -> None:
        """Harden the kits that FLARE's own builders have written."""
        server = project.get_server()
        wheel = self._wheel or package_hash()
        for participant in [server, *project.get_clients()]:
            local = Path(ctx.get_local_dir(participant))
            change = _server_resources if participant is server else _site_resources
            _close(local, change, self._components.get(participant.name, {}))
            if participant is not server:
                _write(local / WorkspaceConstants.PRIVACY_CONFIG, PRIVACY)
            close_start(Path(ctx.get_kit_dir(participant)) / _START)
        for participant in project.get_all_participants():
            local = Path(ctx.get_local_dir(participant))
            files = hashes(local.parent, _KINDS[participant.type])
            stamp = make_stamp(federation=project.name, participant=participant.name, wheel=wheel, files=files)
            _write(local / STAMP_FILE, stamp.model_dump())
            _add(local, self._files.get(participant.name, {}))

    def finalize(self, project: Project, ctx: ProvisionContext) -> None:
        """Restrict private keys, and their folder, to their owner."""
        for participant in project.get_all_participants():
            startup = Path(ctx.get_kit_dir(participant))
            startup.chmod(0o700)
            for key in startup.rglob("*.key"):
                key.chmod(0o600)


def require_hardened(kit: Path, kind: Kind) -> None:
    """Refuse a kit that our builder did not harden or whose connections are not mutual TLS.

    Raises:
        FederationError: names the file.
    """
    startup, local = kit / "startup", kit / "local"
    connections: dict[Kind, tuple[str, Callable[[Any], Any]]] = {
        Kind.server: ("fed_server.json", lambda content: content["servers"][0]),
        Kind.site: ("fed_client.json", lambda content: content["client"]),
        Kind.person: ("fed_admin.json", lambda content: content["admin"]),
    }
    file, part = connections[kind]
    if _of(startup / file, lambda content: part(content)["connection_security"]) != "mtls":
        raise FederationError("connection is not mutual TLS", where=startup / file, remedy="make the kit anew")
    expected: list[tuple[Path, Callable[[Any], Any], Any]] = []
    if kind is not Kind.person:
        for suffix in ("", ".default"):
            resources = local / f"{RESOURCES}{suffix}"
            expected += [
                (resources, lambda content: content["class_allow_list"], list(CLASS_ALLOW_LIST)),
                (resources, lambda content: content["class_list_enforcement_mode"], "enforce"),
                (local / f"{AUTHORIZATION_FILE}{suffix}", lambda content: content, AUTHORIZATION),
            ]
            door = SITE_DOOR if kind is Kind.site else SERVER_DOOR
            expected += [(resources, lambda content: content["components"][0], door)]
            if kind is Kind.site:
                expected += [(resources, lambda content: content["allow_log_streaming"], False)]
    if kind is Kind.site:
        expected += [(local / WorkspaceConstants.PRIVACY_CONFIG, lambda content: content, PRIVACY)]
    for path, look, value in expected:
        if _of(path, look) != value:
            raise FederationError("kit is not closed as Fedward's are", where=path, remedy="make the kit anew")
    for folder in (kit, startup, local):
        if os.path.lexists(folder / _CUSTOM):
            raise FederationError("kit has code beside the package", where=folder / _CUSTOM, remedy="remove it")
    if kind is not Kind.person:
        require_start(startup / _START)


def _of(path: Path, look: Callable[[Any], Any]) -> Any:
    try:
        return look(json.loads(path.read_bytes()))
    except (OSError, ValueError, LookupError, TypeError):
        raise FederationError("is not a file of a kit", where=path, remedy="make the kit anew") from None


def _close(local: Path, change: Callable[[dict[str, Any]], None], components: Mapping[str, Any]) -> None:
    """Harden FLARE's defaults too: `nvflare deploy prepare` starts from them and removes the files beside them."""
    default = local / ProvFileName.RESOURCES_JSON_DEFAULT
    resources = json.loads(default.read_text(encoding="utf-8"))
    resources["class_list_enforcement_mode"] = "enforce"
    resources["class_allow_list"] = list(CLASS_ALLOW_LIST)
    change(resources)
    resources = with_components(resources, components)
    for name, content in ((RESOURCES, resources), (AUTHORIZATION_FILE, AUTHORIZATION)):
        _write(local / name, content)
        _write(local / f"{name}.default", content)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _add(local: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = local / local_name(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def _site_resources(resources: dict[str, Any]) -> None:
    resources["allow_log_streaming"] = False
    components = [c for c in resources["components"] if c["path"] != _STREAMING]
    resources["components"] = [SITE_DOOR, *_restarting(components, "SiteLauncher")]


def _server_resources(resources: dict[str, Any]) -> None:
    storage = "fedward.flare.storage.KitStorage"
    resources["snapshot_persistor"]["args"]["storage"] = {"path": storage, "args": {"folder": "storage/snapshots"}}
    components = {c["id"]: c for c in resources["components"] if c["id"] != "log_receiver"}
    components["job_manager"]["args"]["uri_root"] = "storage/jobs"
    components["job_store"] |= {"path": storage, "args": {}}
    components["job_scheduler"]["path"] = "fedward.flare.listener.job_scheduler.WaitingScheduler"
    resources["components"] = [SERVER_DOOR, *_restarting(components.values(), "ServerLauncher")]


def _restarting(components: Iterable[dict[str, Any]], launcher: str) -> list[dict[str, Any]]:
    """Return the components with our launcher in FLARE's place: a job's process that is killed starts again."""
    ours = {"path": f"fedward.flare.supervisor.launcher.{launcher}"}
    return [one | ours if one["id"] == "process_launcher" else one for one in components]
