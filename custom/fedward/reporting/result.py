"""Read a job's result from a folder that FLARE downloaded; the server may have written anything into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedward.errors import FedwardError
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.reporting.data.event_lookup import Event
from fedward.settings import JOB_FILE, JobSpec, parse


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
    content = json.loads(settings[0].read_text(encoding="utf-8"))
    return parse(JobSpec, content, where=settings[0]), list(EventReader(events))


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
