"""Restrict the requests that a site's parent process answers to a closed list, and authorise each one here.

FLARE's site agent checks rights only if the sender requests it in a header. Here a request is rebuilt from the parts
that its topic has: the right that a person needs is always checked, a job's id must have the form of FLARE's, and every
other header is dropped. The answer contains no error text: that is in the site's log.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nvflare.apis.fl_constant import AdminCommandNames, ServerCommandKey
from nvflare.apis.fl_context import FLContext
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.message import Message as CellMessage
from nvflare.fuel.sec.authz import AuthorizationService, AuthzContext, Person
from nvflare.private.admin_defs import Message, MsgHeader, ReturnCode, error_reply
from nvflare.private.defs import (
    ERROR_MSG_PREFIX,
    RequestHeader,
    SysCommandTopic,
    TrainingTopic,
    new_cell_message,
)
from nvflare.private.fed.client.admin import FedAdminAgent
from nvflare.private.fed.client.admin_commands import AbortCommand, AdminCommands
from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors
from nvflare.private.fed.client.scheduler_cmds import (
    CancelResourceProcessor,
    CheckResourceProcessor,
    ReportResourcesProcessor,
)
from nvflare.private.fed.client.training_cmds import (
    AbortAppProcessor,
    ClientStatusProcessor,
    NotifyJobStatusProcessor,
)
from nvflare.private.scheduler_constants import ShareableHeader

from fedward.errors import GateError
from fedward.flare.job_checks.form import OWN
from fedward.flare.job_checks.large_jobs import install_site
from fedward.flare.job_checks.site import SITE_PROCESSORS

SERVER = "server"
NOT_SERVED = f"{OWN}not authorized, no site answers such a request"
NOT_AUTHORISED = f"{OWN}not authorized at this site"
FAILED = f"{OWN}request failed; the site's log says why"

_log = logging.getLogger("fedward.door")
_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PERSON = (RequestHeader.USER_NAME, RequestHeader.USER_ORG, RequestHeader.USER_ROLE)
_SUBMITTER = (RequestHeader.SUBMITTER_NAME, RequestHeader.SUBMITTER_ORG, RequestHeader.SUBMITTER_ROLE)
_TOKEN, _META = ShareableHeader.RESOURCE_RESERVE_TOKEN, RequestHeader.JOB_META


@dataclass(frozen=True, slots=True)
class Served:
    """Request that a site answers.

    Attributes:
        body: true for a body of the right form.
        words: headers that must be strings; the person's are added if a right is needed.
        numbers: headers that must be whole numbers.
        right: right that the person named in the request needs; None: the server's own scheduling needs none.
        tables: headers that must be tables.
        job: true if it is about a job, by id.
        own_job: true if it comes from that job's own process, not from the server.
    """

    body: Callable[[object], bool]
    words: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    right: str | None = None
    tables: tuple[str, ...] = ()
    job: bool = True
    own_job: bool = False


def _nothing(body: object) -> bool:
    return body in ("", None)


def _no_resources(body: object) -> bool:
    """True if a request asks for no resources, as Fedward's jobs do: the hospital decides what a job may use."""
    return body == {}


SERVED: Mapping[str, Served] = {
    TrainingTopic.CHECK_STATUS: Served(_nothing, right=AdminCommandNames.CHECK_STATUS, job=False),
    SysCommandTopic.REPORT_RESOURCES: Served(_nothing, right=AdminCommandNames.REPORT_RESOURCES, job=False),
    TrainingTopic.CHECK_RESOURCE: Served(_no_resources),
    TrainingTopic.CANCEL_RESOURCE: Served(_no_resources, words=(_TOKEN,), job=False),
    TrainingTopic.DEPLOY: Served(
        lambda body: type(body) is bytes,
        words=(RequestHeader.APP_NAME, *_SUBMITTER),
        right=AdminCommandNames.SUBMIT_JOB,
        tables=(_META,),
    ),
    TrainingTopic.START_JOB: Served(_no_resources, words=(_TOKEN,), tables=(_META,)),
    TrainingTopic.ABORT: Served(_nothing),
    TrainingTopic.NOTIFY_JOB_STATUS: Served(_nothing, numbers=(RequestHeader.JOB_STATUS,), own_job=True),
}
"""Requests that a site answers, by FLARE's topic. Everything else that FLARE 2.9 would answer is not registered."""

PROCESSORS = (
    ClientStatusProcessor,
    ReportResourcesProcessor,
    CheckResourceProcessor,
    CancelResourceProcessor,
    *SITE_PROCESSORS,
    AbortAppProcessor,
    NotifyJobStatusProcessor,
)


def checked(request: object, *, origin: object, site: str) -> Message:
    """Rebuild a request from the parts that its topic has.

    Args:
        request: as received.
        origin: the cell that sent it, as checked by the message guard.
        site: this site's cell.

    Raises:
        GateError: a site does not answer the request, its sender may not send it, or its form is wrong.
    """
    if not isinstance(request, Message) or type(request.headers) is not dict or type(request.topic) is not str:
        raise GateError("request is not of FLARE's form")
    served = SERVED.get(request.topic)
    if served is None:
        raise GateError("request is none that a site answers")
    made = Message(request.topic, request.body)
    job = request.headers.get(RequestHeader.JOB_ID)
    if served.job:
        if type(job) is not str or not _JOB.fullmatch(job):
            raise GateError("request names no job")
        made.set_header(RequestHeader.JOB_ID, job)
    if origin != (f"{site}.{job}" if served.own_job else SERVER):
        raise GateError("request is from nobody who may ask it")
    if not served.body(request.body):
        raise GateError("request has another body than its own")
    for name in (*served.words, *(_PERSON if served.right else ())):
        made.set_header(name, _of(request, name, str))
    for name in served.numbers:
        made.set_header(name, _of(request, name, int))
    for name in served.tables:
        made.set_header(name, _of(request, name, dict))
    if served.right is not None:
        made.set_header(RequestHeader.ADMIN_COMMAND, served.right)
        made.set_header(RequestHeader.REQUIRE_AUTHZ, "true")
    made.set_header(ServerCommandKey.PEER_FL_CONTEXT, FLContext())
    return made


def _of(request: Message, name: str, kind: type) -> Any:
    value = request.headers.get(name)
    if type(value) is not kind or value in ("", {}):
        raise GateError("request lacks a header of its topic")
    return value


def authorised(request: Message) -> bool:
    """True if the site's own ``authorization.json`` gives the person of a rebuilt request the right that it needs."""
    right = request.get_header(RequestHeader.ADMIN_COMMAND)
    if right is None:
        return True
    user, submitter = (Person(*(request.get_header(name, "") for name in names)) for names in (_PERSON, _SUBMITTER))
    allowed, error = AuthorizationService.authorize(AuthzContext(user=user, submitter=submitter, right=right))
    return allowed is True and not error


def answered(reply: object) -> Message:
    """Return an answer without its error text, unless that is one of our own sentences."""
    if not isinstance(reply, Message):
        return error_reply(FAILED)
    text = reply.body if type(reply.body) is str else ""
    failed = text.startswith(ERROR_MSG_PREFIX)  # FLARE's server recognises a failure by it
    if text.removeprefix(f"{ERROR_MSG_PREFIX}: ").startswith(OWN):
        return reply
    if reply.get_header(MsgHeader.RETURN_CODE, ReturnCode.OK) != ReturnCode.OK:
        return error_reply(FAILED)
    return Message(reply.topic, f"{ERROR_MSG_PREFIX}: {FAILED}") if failed else reply


def install() -> None:
    """Make this process answer only the listed requests, and a job's process only its parent's request to stop."""
    install_site()
    ClientRequestProcessors.request_processors[:] = [processor() for processor in PROCESSORS]
    AdminCommands.commands[:] = [AbortCommand()]
    dispatch = FedAdminAgent._dispatch_request

    def guarded(self: Any, request: CellMessage) -> CellMessage:
        try:
            origin = request.get_header(MessageHeaderKey.ORIGIN)
            request.payload = checked(request.payload, origin=origin, site=self.cell.get_fqcn())
        except GateError as error:
            _log.warning(f"refused: {error}")
            return new_cell_message({}, error_reply(NOT_SERVED))
        except Exception as error:  # noqa: BLE001 - fail closed on any error
            _log.warning(f"refused: request cannot be judged ({type(error).__name__})")
            return new_cell_message({}, error_reply(NOT_SERVED))
        try:
            if not authorised(request.payload):
                return new_cell_message({}, error_reply(NOT_AUTHORISED))
            answer = dispatch(self, request)
            return new_cell_message({}, answered(answer.payload))
        except Exception as error:  # noqa: BLE001 - an error's text stays here
            _log.exception(f"request failed with {type(error).__name__}")
            return new_cell_message({}, error_reply(FAILED))

    FedAdminAgent._dispatch_request = guarded
