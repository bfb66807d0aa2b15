"""Open a person's session with a FLARE server, through FLARE's own API: submit a job, follow it, fetch its result."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from nvflare.apis.fl_exception import FLCommunicationError
from nvflare.apis.job_def import DEFAULT_STUDY
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.flare_api.api_spec import (
    AuthenticationError,
    AuthorizationError,
    ClientInfo,
    InvalidJobDefinition,
    JobNotDone,
    JobNotFound,
    JobNotRunning,
    NoConnection,
    NoReply,
    SessionClosed,
    SessionExpired,
)
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session
from nvflare.fuel.hci.client.api import ResultKey
from nvflare.fuel.hci.proto import MetaKey, MetaStatusValue, ProtoKey

from fedward.ends import OPEN
from fedward.errors import FederationError, FedwardError, JobError
from fedward.flare.console import downloads
from fedward.flare.console.following import PATIENCE_S
from fedward.flare.console.job_states import Standing, standing
from fedward.flare.refusal import one_line
from fedward.privacy.policy.canonical_job import require_job
from fedward.privacy.policy.job_archive import read_folder
from fedward.provisioning.network.connectivity import Endpoint, reach
from fedward.provisioning.participants import Kind
from fedward.provisioning.validity import require_valid

RESULT = "workspace"
REACH_S = 10.0
"""Seconds to find why a sign-in got no answer."""
_SILENCE = (NoConnection, NoReply, FLCommunicationError)
"""Errors that FLARE raises where the server does not answer, or not in time."""
_SIGNED_OUT = (SessionClosed, SessionExpired, AuthenticationError)
"""Errors that FLARE raises where the server no longer knows the session, as after it was started again."""
_UNKNOWN_COMMAND = "Unknown command"


class Console:
    """Open session with a server. Make it with ``console``, which closes it: an open one keeps its process alive."""

    def __init__(self, session: Session, *, again: Callable[[], Session] | None = None) -> None:
        self._session, self._again = session, again

    def connected(self) -> set[str]:
        """Return the sites that are connected to the server now."""
        return {client.name for client in self._clients()}

    def last_seen(self) -> dict[str, datetime]:
        """Return, by site, the time at which the server last heard from it; only sites that are registered now."""
        return {
            one.name: datetime.fromtimestamp(one.last_connect_time, UTC)
            for one in self._clients()
            if one.last_connect_time
        }

    def submit(self, folder: Path) -> str:
        """Submit an exported job and return its id.

        Raises:
            JobError: the folder is not, byte for byte, the export of its settings; or the server refuses the job.
            FederationError: the server does not answer, or its answer holds no job id.
        """
        require_job(read_folder(folder.resolve()))
        with _asked(remedy="see in `nvflare job list` whether it has the job before you submit it again"):
            try:
                taken = self._session.submit_job(str(folder.resolve()))
            except (InvalidJobDefinition, AuthorizationError) as error:
                raise JobError(f"server refuses the job, {one_line(str(error))}", where=folder) from None
        return _job_id(taken)

    def refusal(self, folder: Path) -> str | None:
        """Submit a job's folder unchecked and expect a refusal; abort and delete the job at once if it is accepted.

        Returns:
            The server's reason, or None if it accepted the job.

        Raises:
            JobError: the person may not submit any job.
            FederationError: the server accepted the job, and it could not be deleted.
        """
        try:
            taken = _job_id(self._session.submit_job(str(folder.resolve())))
        except InvalidJobDefinition as error:
            return str(error)
        except AuthorizationError:
            raise JobError("this person may not submit jobs") from None
        try:
            with suppress(JobNotRunning):
                self._session.abort_job(taken)
            self._session.delete_job(taken)
        except Exception as error:  # noqa: BLE001 - after any error, somebody has to delete the job
            what = f"server took a job that it must refuse, which could not be deleted ({type(error).__name__})"
            raise FederationError(what, value=taken, remedy=f"delete it: nvflare job delete {taken}") from None
        return None

    def does(self, command: str) -> bool | None:
        """True if the server executes a console's command, which is sent unchanged; its answer is discarded.

        Returns:
            False where the server answers that it does not know the command, or that the person has no right to it;
            None where its answer is empty; True in every other case, since a command that failed was also begun.
        """
        reply = self._session.api.server_execute(command)
        if not reply.get(ProtoKey.DATA):
            return None
        meta = reply.get(ResultKey.META) or {}
        unknown = str(meta.get(MetaKey.INFO, "")).startswith(_UNKNOWN_COMMAND)
        return not (unknown or meta.get(MetaKey.STATUS) == MetaStatusValue.NOT_AUTHORIZED)

    @property
    def cell(self) -> CoreCell:
        """FLARE's cell of this console, for requests that FLARE's API does not offer."""
        return self._session.api.cell.core_cell

    def status(self, job_id: str) -> str:
        """Return FLARE's status of the job, such as RUNNING or FINISHED:COMPLETED."""
        return one_line(str(self._session.get_job_status(_job_id(job_id))))

    def standing(self, job_id: str) -> Standing | None:
        """Return how the job stands, or None if the server does not answer; a server that was started again is signed
        in to again.

        Raises:
            FederationError: the server has no such job, or its answer cannot be used.
        """
        asked = _job_id(job_id)
        try:
            with _asked(value=asked, silence=False):
                try:
                    return standing(self._session.get_job_meta(asked))
                except _SIGNED_OUT:
                    if self._again is None:
                        raise
                    self._sign_in_again(self._again)
                    return None
        except _SILENCE:
            return None

    def _sign_in_again(self, again: Callable[[], Session]) -> None:
        try:
            session = again()
        except _SIGNED_OUT as error:
            raise NoConnection(str(error)) from None  # a server that starts refuses sign-ins at first
        with suppress(Exception):
            self._session.close()
        self._session = session

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def wait(self, job_id: str, *, each: Callable[[], None], poll_s: float = 0.25) -> str:
        """Call ``each`` and query the job's status, repeatedly, until the job has ended; return its last status.

        Raises:
            FederationError: the server has not answered for ``PATIENCE_S``; the job may still run.
        """
        heard = time.monotonic()
        while True:
            each()
            try:
                with _asked(silence=False):
                    status = self.status(job_id)
            except _SILENCE:
                if time.monotonic() - heard > PATIENCE_S:
                    remedy = "the job may go on: see `nvflare job list`"
                    what = f"server has not answered for {PATIENCE_S:.0f} s"
                    raise FederationError(what, value=job_id, remedy=remedy) from None
            else:
                heard = time.monotonic()
                if status not in OPEN:
                    return status
            time.sleep(poll_s)

    def abort(self, job_id: str) -> None:
        """Ask the server to stop the job.

        Raises:
            FederationError: the job does not run, or the server does not answer.
        """
        with _asked(value=_job_id(job_id)):
            self._session.abort_job(job_id)

    def download(self, job_id: str, out: Path) -> Path:
        """Fetch the job's result into ``out`` and return the folder that holds the server's run folder.

        Raises:
            FederationError: the server has no result; or its answer names paths outside the kit's downloads; or
                ``job_id`` is not a job id, from which FLARE builds file names.
        """
        with _asked(value=_job_id(job_id), remedy=f"fetch it later: fedward job download {job_id} --kit KIT"):
            return Path(self._session.download_job_result(job_id, str(out))) / RESULT

    def _clients(self) -> list[ClientInfo]:
        with _asked():
            return list(self._session.get_connected_client_list())


def _job_id(text: object) -> str:
    """Check a job's id, which the server chooses, and return it.

    Raises:
        FederationError: it is not in the form of a UUID (RFC 9562, section 4); paths and commands are built from it.
    """
    if type(text) is not str or not _UUID.fullmatch(text):
        raise FederationError("is no id of a job", value=one_line(str(text)), remedy="see `nvflare job list`")
    return text


@contextmanager
def _asked(*, value: str | None = None, remedy: str = "try again", silence: bool = True) -> Iterator[None]:
    """Convert each error of FLARE about a server's answer to one line; with ``silence`` also a missing answer.

    Raises:
        FederationError: the converted error.
    """
    try:
        yield
    except FedwardError:
        raise
    except _SILENCE:
        if not silence:
            raise
        raise FederationError("server does not answer in time", value=value, remedy=remedy) from None
    except JobNotFound:
        raise FederationError("server has no such job", value=value, remedy="see `nvflare job list`") from None
    except JobNotRunning:
        raise FederationError("job is not running", value=value, remedy="see `nvflare job list`") from None
    except JobNotDone:
        raise FederationError("job has not ended", value=value, remedy=remedy) from None
    except Exception as error:  # noqa: BLE001 - a server may send any answer, and FLARE raises any class of error
        what = f"server's answer cannot be used, {type(error).__name__}: {one_line(str(error))}"
        raise FederationError(what, value=value) from None


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _unreached(kit: Path) -> FederationError:
    """Return the step at which a connection fails, such as a certificate that the server's clock takes for invalid."""
    try:
        reach(Endpoint.of_person(kit), timeout_s=REACH_S)
    except FederationError as error:
        return error
    return FederationError("server does not answer the sign-in", where=kit, remedy="check that it runs; try again")


@contextmanager
def console(kit: Path, *, timeout_s: float = 20.0, study: str | None = None) -> Iterator[Console]:
    """Sign in with a person's kit; the sign-in name is the kit folder's name.

    Args:
        study: FLARE study whose jobs the session submits and sees; None: jobs that are in no study.

    Raises:
        FederationError: the folder holds no kit, a certificate in it has expired or is not valid yet, the server cannot
            be reached, or it refuses the sign-in.
        EncryptionError: a certificate in it cannot be read.
    """
    if not (kit / "startup").is_dir():
        raise FederationError(
            "not an admin startup kit", where=kit, remedy="give the kit's folder, the one with startup/"
        )
    require_valid(kit, Kind.person)
    Endpoint.of_person(kit)

    def signed_in() -> Session:
        session = new_secure_session(kit.name, str(kit.resolve()), timeout=timeout_s, study=study or DEFAULT_STUDY)
        downloads.hold(session.api)
        return session

    try:
        opened = Console(signed_in(), again=signed_in)
    except _SILENCE:
        raise _unreached(kit) from None
    except AuthenticationError as error:
        raise FederationError(f"server refuses the sign-in, {error}", where=kit) from None
    try:
        yield opened
    finally:
        opened.close()
