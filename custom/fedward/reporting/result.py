"""Read a job's result from a folder that FLARE downloaded, and word how it ended.

The server may have written anything into the folder. The words are those of ``fedward.ends``, whatever tells them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedward.ends import End, JobState, end_of, worded
from fedward.errors import FedwardError
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.reporting.data.ending import state_of
from fedward.reporting.data.event_lookup import Event, of_kind
from fedward.settings import JOB_FILE, JobSpec, read_sent

__all__ = ["End", "JobState", "end_of", "ended", "from_a_server", "read_result", "state_of", "worded"]


def read_result(folder: Path) -> tuple[JobSpec, list[Event]]:
    """Return a job's settings and events from a folder that FLARE downloaded.

    Raises:
        FedwardError: the folder is not such a result, or the job never began.
    """
    settings = sorted(folder.glob(f"job/*/app/config/{JOB_FILE}"))
    events = folder / "workspace" / EVENTS_FILE
    if len(settings) != 1 or not events.is_file():
        remedy = "give the folder that holds job/ and workspace/"
        raise FedwardError("not a downloaded result of a Fedward job", where=folder, remedy=remedy)
    return read_sent(settings[0]), list(EventReader(events))


def ended(folder: Path, flare: str) -> End:
    """Return the end of a job from its downloaded result, held against FLARE's status.

    Raises:
        FedwardError: the folder is not such a result.
    """
    with from_a_server(folder):
        job, events = read_result(folder)
        begun = any(of_kind(events, "started"))
        return end_of(flare, state_of(events, asked=job.federation.rounds) if begun else None)


@contextmanager
def from_a_server(folder: Path) -> Iterator[None]:
    """Turn any fault in a server's result into a one-line error.

    Raises:
        FedwardError: no report can be made of the result.
    """
    try:
        yield
    except (FedwardError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - the server may write anything into the events
        what = f"report cannot be made of the events, {type(error).__name__}"
        raise FedwardError(
            what, where=folder, remedy="download the result again; if it stays, ask the operator"
        ) from None
