"""Restrict uploads from a console to the server: only a job's archive, in a session that submits a job.

FLARE 2.9 writes a file of any size from any console to the machine's shared temporary folder, checks the sender
afterwards, and does not delete a refused file. Here session, command and size are checked first, the
right to submit after the upload; the file is in a folder
that only the server uses, and is deleted when FLARE has finished with it.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from nvflare.app_common.streamers import file_streamer
from nvflare.app_common.streamers.file_streamer import _ChunkConsumer, _ChunkConsumerFactory
from nvflare.app_common.streamers.streamer_base import KEY_DATA, KEY_FILE_SIZE

from fedward.errors import FederationError, GateError
from fedward.privacy.policy.job_archive import ARCHIVE_BYTES

_SUBMIT = "submit_job"
COMMANDS = (_SUBMIT, f"job_mgmt.{_SUBMIT}")
"""Command as FLARE's consoles write it, without and with its group."""
MOST_OPEN = 4
"""Largest number of files that one person sends at a time; a further file replaces the oldest."""
Sender = Callable[[], str | None]
"""Function that returns the common name of the current message's certificate; None: the server knows none."""


class Upload(_ChunkConsumer):  # type: ignore[misc]
    """One file, which is no longer than its declared size."""

    def __init__(self, stream_ctx: Any, folder: str) -> None:
        super().__init__(stream_ctx, folder)
        self._path = Path(self.file.name)

    def consume(self, shareable: Any, stream_ctx: Any, fl_ctx: Any) -> Any:
        """Consume a chunk as FLARE does, within the declared size.

        Raises:
            GateError: the file is longer than declared.
        """
        data = shareable.get(KEY_DATA) or b""
        if type(data) is not bytes or self.received_size + len(data) > self.file_size:
            raise GateError("file that is sent is longer than it was said to be")
        return super().consume(shareable, stream_ctx, fl_ctx)

    def discard(self) -> None:
        """Close the file and delete it, if FLARE has not moved it away."""
        self.file.close()
        with suppress(FileNotFoundError):
            self._path.unlink()


class Uploads(_ChunkConsumerFactory):  # type: ignore[misc]
    """FLARE's factory of file consumers, which makes one only for a job's archive."""

    def __init__(self, sender: Sender, dest_dir: str) -> None:
        super().__init__(tempfile.mkdtemp(prefix="fedward-uploads-", dir=dest_dir))
        self._sender = sender
        self._open: dict[str, list[Upload]] = {}
        self._lock = threading.Lock()

    def get_consumer(self, stream_ctx: Any, fl_ctx: Any) -> Upload:
        """Return a consumer for a file that its sender may send.

        Raises:
            GateError: the sender may not send the file.
        """
        size = stream_ctx.get(KEY_FILE_SIZE)
        if type(size) is not int or not 0 < size <= ARCHIVE_BYTES:
            raise GateError("file that is sent is larger than any job")
        person = require_session(fl_ctx.get_engine().server.admin_server, stream_ctx.get("conn_data"), self._sender())
        made = Upload(stream_ctx, self.dest_dir)
        with self._lock:
            mine = self._open.setdefault(person, [])
            mine.append(made)
            over = mine[:-MOST_OPEN]
            del mine[:-MOST_OPEN]
        for old in over:
            old.discard()
        return made

    def return_consumer(self, consumer: Any, stream_ctx: Any, fl_ctx: Any) -> None:
        """Discard a file when FLARE has finished with it."""
        with self._lock:
            for mine in self._open.values():
                if consumer in mine:
                    mine.remove(consumer)
        consumer.discard()


def require_session(admin: Any, conn_data: object, sender: str | None) -> str:
    """Return the person in whose session a file is sent; refuse a session that is not the sender's.

    FLARE checks the person's right to submit a job after the upload, since its answer reaches the console.

    Args:
        admin: FLARE's server of consoles.
        conn_data: command to which the file belongs, with its session's token, as the sender wrote it.
        sender: common name of the certificate with which the file came.

    Raises:
        GateError: there is no such session, or it belongs to another person.
    """
    understood, command, conn = admin._create_conn(conn_data) if type(conn_data) is str else (False, "", None)
    words = command.split() if understood and type(command) is str else []
    if conn is None or not words or words[0] not in COMMANDS:
        raise GateError("file is sent with another command than a job's submission")
    session = admin.sess_mgr.get_session(conn.get_token(), admin.get_id_asserter())
    if session is None or sender is None or session.user_name != sender:
        raise GateError("file is sent in no session of its sender's")
    return sender


def install(sender: Sender) -> None:
    """Make FLARE's server receive files with ``Uploads``; call this before FLARE registers its own receiver.

    Raises:
        FederationError: FLARE receives files differently from release 2.9.
    """
    if file_streamer._ChunkConsumerFactory is not _ChunkConsumerFactory:
        raise FederationError("FLARE has another release than Fedward's", where=file_streamer.__name__)

    file_streamer._ChunkConsumerFactory = partial(Uploads, sender)
