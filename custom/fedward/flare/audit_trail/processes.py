"""Record the start and the stop of parent processes, and connections of revoked certificates."""

from __future__ import annotations

import os

from cryptography import x509

from fedward import __version__
from fedward.flare.audit_trail.notes import note_here
from fedward.flare.messages.guard import JOB_PROCESSES, main_module
from fedward.provisioning.network.health import REVOKED


def note_process(what: str) -> None:
    """Record that a parent process started or stopped; the processes of jobs build the same components, unrecorded."""
    if main_module() not in JOB_PROCESSES:
        note_here(what, process=os.getpid(), version=__version__)


def note_revoked(name: str, certificate: x509.Certificate) -> None:
    """Record that a connection was refused or cut because its certificate is revoked."""
    note_here("connection-refused", who=name, serials=[f"{certificate.serial_number:x}"], reason=REVOKED)
