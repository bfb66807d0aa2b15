"""Launch jobs in pods of a hospital's own cluster; refuse a job that configures its own pod.

In FLARE, a job may name the image, the Python and the resources of the pod that it runs in (``launcher_spec`` and, from
older releases, ``resource_spec`` in its ``meta.json``). An image is code, and a Fedward job carries no code: the
hospital sets image, program and limits in its kit's ``local/study_runtime.yaml``.
"""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.job_launcher_spec import JobHandleSpec
from nvflare.app_opt.job_launcher.k8s_launcher import ClientK8sJobLauncher
from nvflare.utils.job_launcher_utils import get_job_launcher_spec

from fedward.errors import PolicyError


class SitePods(ClientK8sJobLauncher):  # type: ignore[misc]
    """FLARE's launcher of one pod per job, which the hospital alone configures."""

    def launch_job(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> JobHandleSpec:
        """Start the job's pod.

        Raises:
            PolicyError: the job configures its own pod.
        """
        refuse_own_pod(job_meta, site=fl_ctx.get_identity_name())
        return super().launch_job(job_meta, fl_ctx)


def refuse_own_pod(job_meta: dict[str, Any], *, site: str) -> None:
    """Refuse a job that names an image, a program or anything else of its pod.

    Raises:
        PolicyError: the job does so, for any site.
    """
    asked = get_job_launcher_spec(job_meta, site, "k8s") or job_meta.get(JobMetaKey.JOB_LAUNCHER_SPEC.value)
    if asked:
        remedy = "export it without launcher_spec; the hospital's local/study_runtime.yaml says what runs"
        what, settings = "job says which pod it runs in", {"launcher_spec": None}
        raise PolicyError(what, where=site, remedy=remedy, settings=settings)
