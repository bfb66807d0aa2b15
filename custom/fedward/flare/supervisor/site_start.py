"""Deploy and start a job at one site that takes part in it, with the messages of FLARE's own start of a job."""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_constant import RunProcessKey
from nvflare.apis.job_def import Job
from nvflare.apis.job_scheduler_spec import DispatchInfo
from nvflare.private.admin_defs import Message, MsgHeader, ReturnCode
from nvflare.private.fed.server.job_runner import JobRunner

from fedward.privacy.policy.canonical_job import APP


def start(engine: Any, job: Job, client: Any) -> str | None:
    """Deploy and start a job at a site; return why the site refused, or None. The site checks it like any job.

    Args:
        engine: FLARE's engine of the server's parent process.
        job: a job that runs.
        client: the site, as it signed in last.
    """
    return _deploy(engine, job, client) or _start(engine, job, client)


def seat_anew(engine: Any, process: dict[str, Any], client: Any) -> None:
    """Put a site's new token in the place of its old one among the participants of a job's process."""
    with engine.lock:
        before: dict[str, Any] = process[RunProcessKey.PARTICIPANTS]
        others = {token: one for token, one in before.items() if one.name != client.name}
        process[RunProcessKey.PARTICIPANTS] = {**others, client.token: client}


def _deploy(engine: Any, job: Job, client: Any) -> str | None:
    with engine.new_context() as context:
        message = JobRunner._make_deploy_message(job, job.get_application(APP, context), APP, context)
        admin = engine.server.admin_server
        answers = admin.send_requests_and_get_reply_dict({client.token: message}, timeout_secs=admin.timeout)
    return _refusal(answers.get(client.token))


def _start(engine: Any, job: Job, client: Any) -> str | None:
    with engine.new_context() as context:
        enough, token = engine.check_client_resources(job, {client.name: {}}, context).get(client.name, (False, ""))
        if not enough:
            return str(token) or "no answer on its resources"
        site = {client.name: DispatchInfo(app_name=APP, resource_requirements={}, token=token)}
        replies = engine.start_client_job(job, site, context)
    return _refusal(replies[0].reply if replies else None)


def _refusal(reply: Message | None) -> str | None:
    """Return why a site refused a request; None if it did not."""
    if reply is None:
        return "no answer"
    failed = reply.get_header(MsgHeader.RETURN_CODE, ReturnCode.OK) != ReturnCode.OK
    text = reply.body if isinstance(reply.body, str) else ""
    return (text or "refused") if failed or text.startswith("ERROR") else None
