"""Have the hospitals of a masked job make its key and draw its mask graph, before the first round."""

from __future__ import annotations

from collections.abc import Sequence

from fedward.encryption.masks.graphs.sparse import sparse_bound
from fedward.errors import EncryptionError, FederationError
from fedward.flare.protocol import Reply, Task
from fedward.flare.refusal import one_line
from fedward.flare.server.asking.broadcast import nobody
from fedward.flare.server.masked_sums import AskFor
from fedward.flare.server.rounds import JobRounds
from fedward.metrics.events import EventLog
from fedward.settings import JobSpec


def make_keys(
    job: JobSpec, rounds: JobRounds, sites: Sequence[str], *, ask: AskFor, events: EventLog
) -> dict[str, str]:
    """Have the sites of a masked job make its key, and its sparse mask graph if it has one; do nothing in another job.

    Returns:
        Sites without a part in the graph, with the reason; they can be in no sum of the run.

    Raises:
        FederationError: no site has made a key, or too few have a part in the graph.
        EncryptionError: no sparse graph is possible among so few sites.
    """
    threshold = rounds.threshold
    if threshold is None:
        return {}
    if job.has_sparse_graph:
        sparse_bound(threshold)
        return _draw_graph(rounds, sites, fewest=threshold.fewest, ask=ask, events=events)
    _make_job_key(rounds, sites, ask=ask, events=events)
    return {}


def _make_job_key(rounds: JobRounds, sites: Sequence[str], *, ask: AskFor, events: EventLog) -> None:
    """Ask one site after the other to make the key of a masked job, until one has.

    Raises:
        FederationError: none of them has.
    """
    for site in sites:
        reply = ask(Task.KEY, None, [site], enough=nobody).get(site)
        if reply is not None and _has_job_key(rounds, reply, site=site, events=events):
            return
    raise FederationError(_KEYLESS, remedy="look at the hospitals' reasons")


def _draw_graph(
    rounds: JobRounds, sites: Sequence[str], *, fewest: int, ask: AskFor, events: EventLog
) -> dict[str, str]:
    """Ask all sites at once for their part of a sparse mask graph, and for a key of the job, of which one is used.

    Args:
        fewest: number of sites that must have a part.

    Returns:
        Sites without a part, with the reason; they can be in no sum of the run.

    Raises:
        FederationError: too few have a part, or none has made a key.
    """
    replies = ask(Task.KEY, None, list(sites), enough=lambda found: len(found) >= fewest)
    if not any(_has_job_key(rounds, reply, site=site, events=events) for site, reply in sorted(replies.items())):
        raise FederationError(_KEYLESS, remedy="look at the hospitals' reasons")
    try:
        refused = rounds.take_drawn(replies)
    except EncryptionError as error:
        raise FederationError(error.what, value=error.value, remedy="look at the hospitals' reasons") from None
    for site, reason in sorted(refused.items()):
        events.append("dropped", site=site, round=None, reason=reason)
    return refused


def _has_job_key(rounds: JobRounds, reply: Reply, *, site: str, events: EventLog) -> bool:
    """Take the job's key from a site's answer, if it brings a usable one; if not, record why."""
    try:
        rounds.take_job_key(reply, site=site)
        return True
    except EncryptionError as error:
        reason = one_line(str(error))
    except Exception as error:  # noqa: BLE001 - a site may send anything
        reason = one_line(f"answer cannot be read: {error}")
    events.append("dropped", site=site, round=None, reason=reason)
    return False


_KEYLESS = "no hospital made the key of the job"
