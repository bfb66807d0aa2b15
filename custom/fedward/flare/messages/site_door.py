"""Guard a site's parent process and the processes of its jobs: a message that no job needs does not reach FLARE.

A component of the site's ``local/resources.json``. FLARE builds it before the process opens its first cell, and it
installs the message guard (``guard``) and the list of requests (``site_requests``). If one of them fails, the process
does not start.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedward.errors import FedwardError
from fedward.flare.audit_trail.processes import note_process
from fedward.flare.listener import certificate_watch
from fedward.flare.messages import guard, site_requests
from fedward.flare.repeating import repeat
from fedward.flare.supervisor import job_reactions, left_open, single_process, waits
from fedward.provisioning.participants import Kind
from fedward.training import libraries
from fedward.upkeep.clean import UPKEEP_S, daily

_log = logging.getLogger("fedward.door")


class SiteDoor(FLComponent):  # type: ignore[misc]
    """Gate of the site's process that builds it.

    Raises:
        SystemExit: with one line, before any cell is open: with exit code 1 if the process cannot be guarded, and with
            ``fedward.provisioning.validity.NOT_VALID`` if a certificate is not valid.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            certificate_watch.guard_process(Kind.site, log=_log)
            guard.install(guard.MessageGuard())
            site_requests.install()
            waits.reconnect_soon()
            if guard.main_module() in guard.JOB_PROCESSES:
                waits.set_waits()
                job_reactions.install()
                single_process.hold(Path.cwd())
                libraries.begin()
            else:
                left_open.settle_all(Path.cwd(), log=_log.warning)
                repeat(daily(Path.cwd(), _log.warning), every_s=UPKEEP_S, name="upkeep", log=_log.warning)
        except (FedwardError, OSError, AttributeError) as error:
            sys.exit(f"fedward: site does not start: {error}")
        note_process("process-started")

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Settle the charge of a job whose process is gone for good; the hospital's log says so."""
        if event_type == EventType.JOB_COMPLETED:
            left_open.settle_after(Path.cwd(), str(fl_ctx.get_prop(FLContextKey.CURRENT_JOB_ID)), log=_log.warning)
        if event_type == EventType.SYSTEM_END:
            note_process("process-stopped")
