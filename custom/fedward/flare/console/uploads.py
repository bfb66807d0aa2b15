"""Files that a console sends up to the server: a job's archive, of a person who may submit one, and nothing else.

FLARE 2.9 writes what any console sends into the machine's common temporary folder, whatever its size, asks afterwards
who it was, and leaves what it refused where it is. Here session, right and size are asked for first; the file is in a
folder of the server's own and is gone when FLARE is done with it.
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
"""The command as FLARE's consoles write it, without and with the group that it is in."""
MOST_OPEN = 4
"""Files that one person sends at a time; a further one takes the place of the oldest."""
Sender = Callable[[], str | None]
"""The common name of the certificate whose message the server works on; None: nobody's that it knows."""


class Upload(_ChunkConsumer):  # type: ignore[misc]
    """One file, which is no longer than it said."""

    def __init__(self, stream_ctx: Any, folder: str) -> None:
        super().__init__(stream_ctx, folder)
        self._path = Path(self.file.name)

    def consume(self, shareable: Any, stream_ctx: Any, fl_ctx: Any) -> Any:
        """FLARE's, within the bound.

        Raises:
            GateError: there is more than was declared.
        """
        data = shareable.get(KEY_DATA) or b""
        if type(data) is not bytes or self.received_size + len(data) > self.file_size:
            raise GateError("file that is sent is longer than it was said to be")
        return super().consume(shareable, stream_ctx, fl_ctx)

    def discard(self) -> None:
        """Close it and delete it, where FLARE has not moved it away."""
        self.file.close()
        with suppress(FileNotFoundError):
            self._path.unlink()


class Uploads(_ChunkConsumerFactory):  # type: ignore[misc]
    """FLARE's factory of consumers of files, which makes one for a job's archive alone."""

    def __init__(self, sender: Sender, dest_dir: str) -> None:
        super().__init__(tempfile.mkdtemp(prefix="fedward-uploads-", dir=dest_dir))
        self._sender = sender
        self._open: dict[str, list[Upload]] = {}
        self._lock = threading.Lock()

    def get_consumer(self, stream_ctx: Any, fl_ctx: Any) -> Upload:
        """A consumer for a file that its sender may send.

        Raises:
            GateError: it is none.
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
        """FLARE is done with a file."""
        with self._lock:
            for mine in self._open.values():
                if consumer in mine:
                    mine.remove(consumer)
        consumer.discard()


def require_session(admin: Any, conn_data: object, sender: str | None) -> str:
    """The person whose session a file comes in, where it is the sender's.

    Whether the person may submit a job is FLARE's question, once the file is there: its answer reaches the console.

    Args:
        admin: FLARE's server of consoles.
        conn_data: the command that the file belongs to, with its session's token, as the sender wrote it.
        sender: common name of the certificate that it came with.

    Raises:
        GateError: there is no such session, or it is another's.
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
    """Have FLARE's server take files so, before it registers what takes them.

    Raises:
        FederationError: FLARE has another way of taking files than 2.9.
    """
    if file_streamer._ChunkConsumerFactory is not _ChunkConsumerFactory:
        raise FederationError("FLARE has another release than Fedward's", where=file_streamer.__name__)

    file_streamer._ChunkConsumerFactory = partial(Uploads, sender)
