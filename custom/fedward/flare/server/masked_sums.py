"""Have enough hospitals take the masks off the sums of a masked job."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from fedward.encryption.masks.unmasking import Unmasking
from fedward.flare.protocol import Reply, Task, Unmask
from fedward.flare.refusal import one_line
from fedward.flare.server.asking.broadcast import Carried, Enough, Quorum, Take
from fedward.flare.server.averaging.signed_sum import SignedSum
from fedward.metrics.events import EventLog


class AskFor(Protocol):
    """Function that sends a task to sites and returns their answers; see ``Broadcaster.ask``."""

    def __call__(
        self,
        task: Task,
        carried: Carried,
        sites: list[str],
        *,
        enough: Enough,
        number: int = -1,
        take: Take | None = None,
    ) -> dict[str, Reply]: ...


def take_masks_off(
    sums: Mapping[str, SignedSum], sites: Sequence[str], *, ask: AskFor, events: EventLog, number: int = -1
) -> dict[str, str]:
    """Ask the hospitals for their shares of some sums; return the sums that stay shut, with the reason.

    A sum without masks, or without a hospital in it, needs no shares.

    Args:
        sums: purpose -> sum.
        sites: hospitals that are asked.
        ask: function that sends a task.
        events: log of hospitals that gave false shares; these were not used.
        number: round of the sums; -1: none.
    """
    masks = {purpose: each.unmasking for purpose, each in sums.items() if each.unmasking and each.sites}
    wanted = {purpose: each for purpose, each in masks.items() if each.too_few is None}
    requests = {site: _request(site, wanted) for site in sites}
    lock = threading.Lock()

    def take(site: str, reply: Reply) -> None:
        with lock:
            for purpose in requests[site].requests:
                sums[purpose].help(reply, purpose, site=site)

    def opened(replies: Mapping[str, Reply]) -> bool:
        with lock:
            return all(each.short is None for each in wanted.values())

    if wanted:
        ask(Task.UNMASK, requests, list(sites), enough=Quorum(opened), number=number, take=take)
    for each in masks.values():
        each.last()
    shut = {purpose: why for purpose, each in masks.items() if (why := each.short) is not None}
    for each in masks.values():
        for site, what in sorted(each.false.items()):
            events.append("suspect", site=site, round=number if number >= 0 else None, reason=one_line(what))
    return shut


def _request(site: str, wanted: Mapping[str, Unmasking]) -> Unmask:
    return Unmask(requests={purpose: each.request(site).plain() for purpose, each in wanted.items()})
