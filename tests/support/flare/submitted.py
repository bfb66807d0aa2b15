"""Jobs as they reach a server or a site: signed by somebody, packed as FLARE packs them; and a stand-in engine."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace
from nvflare.app_common.resource_consumers.gpu_resource_consumer import GPUResourceConsumer
from nvflare.app_common.resource_managers.passthrough_resource_manager import PassthroughResourceManager
from nvflare.fuel.utils.zip_utils import zip_directory_to_bytes
from nvflare.lighter.utils import load_private_key_file, sign_folders
from nvflare.private.admin_defs import Message
from nvflare.private.defs import RequestHeader, TrainingTopic
from nvflare.private.fed.app.default_app_validator import DefaultAppValidator
from nvflare.private.fed.client.client_engine_internal_spec import ClientEngineInternalSpec
from nvflare.private.fed.utils.app_authz import AppAuthzService
from nvflare.private.fed.utils.app_deployer import AppDeployer

from fedward.flare.export import export_job
from fedward.settings import JobSpec

JOB_ID = "6a3f1f0e-6a35-4a7e-9c3e-1f3a4b5c6d7e"
Change = Callable[[Path], object]


def sign(folder: Path, kit: Path, *, who: str = "client") -> None:
    """As FLARE's console does before it sends a job."""
    startup = kit / "startup"
    sign_folders(str(folder), load_private_key_file(str(startup / f"{who}.key")), str(startup / f"{who}.crt"))


def submitted(
    job: JobSpec,
    out: Path,
    kit: Path | None,
    *,
    study: str | None = None,
    change: Change | None = None,
    who: str = "client",
) -> Path:
    """An exported job's folder, changed by hand and then signed with a kit's key; None: not signed."""
    folder = export_job(job, out, study=study)
    if change is not None:
        change(folder)
    if kit is not None:
        sign(folder, kit, who=who)
    return folder


def archive(folder: Path) -> bytes:
    """A job's folder as FLARE's console sends it."""
    return zip_directory_to_bytes(str(folder.parent), folder.name)


def app_archive(folder: Path) -> bytes:
    """The job's app as FLARE's server sends it to a site."""
    return zip_directory_to_bytes(str(folder / "app"), "")


def meta_of(job: JobSpec, **more: Any) -> dict[str, Any]:
    """Return the meta that FLARE's server sends with a job that it deploys."""
    return {
        "name": job.job.name,
        "resource_spec": {},
        "min_clients": job.federation.min_sites,
        "mandatory_clients": list(job.federation.must_include),
        "deploy_map": {"app": ["@ALL"]},
        "study": "default",
        "job_id": JOB_ID,
        "job_folder_name": job.job.name,
        "submitter_name": "lead@uni.org",
        "status": "SUBMITTED",
        **more,
    }


class SiteEngine(ClientEngineInternalSpec):  # type: ignore[misc]
    """A site's parent process, as far as FLARE's two handlers ask for it; it notes the jobs that it starts."""

    def __init__(self, kit: Path, site: str) -> None:
        self.args, self._site = Namespace(workspace=str(kit)), site
        self.running: list[str] = []
        self.started: list[str] = []
        AppAuthzService.app_validator = DefaultAppValidator("client")

    def get_client_name(self) -> str:
        return self._site

    def get_all_job_ids(self) -> list[str]:
        return self.running

    def new_context(self) -> FLContext:
        return FLContext()

    def get_component(self, name: str) -> object:
        return GPUResourceConsumer() if "consumer" in name else PassthroughResourceManager()

    def deploy_app(
        self, app_name: str, job_id: str, job_meta: dict[str, Any], client_name: str, app_data: bytes
    ) -> str:
        workspace = Workspace(self.args.workspace, client_name)
        return AppDeployer().deploy(workspace, job_id, job_meta, app_name, app_data, FLContext()) or ""

    def start_app(self, job_id: str, **_: Any) -> str:
        self.started.append(job_id)
        return ""


SiteEngine.__abstractmethods__ = frozenset()


def deploy(app: bytes, meta: Any, *, job_id: Any = JOB_ID, app_name: str = "app") -> Message:
    """The server's request to deploy a job."""
    request = Message(TrainingTopic.DEPLOY, app)
    request.set_header(RequestHeader.JOB_ID, job_id)
    request.set_header(RequestHeader.JOB_META, meta)
    request.set_header(RequestHeader.APP_NAME, app_name)
    return request


def start(meta: Any, *, job_id: Any = JOB_ID, resources: Any = None) -> Message:
    """The server's request to start it."""
    request = Message(TrainingTopic.START_JOB, {} if resources is None else resources)
    request.set_header(RequestHeader.JOB_ID, job_id)
    request.set_header(RequestHeader.JOB_META, meta)
    request.set_header("resource_reserve_token", "token")
    return request
