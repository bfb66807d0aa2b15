"""Read the end of a job wherever somebody may see it, and hold it against the promise."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np
import psutil

from fedward.audit.place import log_of_kit
from fedward.audit.verify import verify
from fedward.demo.compare import load_model
from fedward.ends import worded
from fedward.errors import FedwardError
from fedward.metrics import queries
from fedward.metrics.exporter import StoreCollector, exposition
from fedward.metrics.job_state import state_of
from fedward.metrics.store import STORE_FILE, Store
from fedward.reporting.data.event_lookup import Event
from fedward.reporting.data.from_events import report_of
from fedward.reporting.result import read_result
from fedward.weights import MODEL_FILE, Weights
from tests.integration.faults.fault import Promised
from tests.integration.faults.ledgers import begun, faults_of
from tests.integration.faults.play import SERVER, Play, wait_for

Broken = Iterator[str]


def broken(play: Play, promised: Promised, *, undisturbed: Weights | None) -> Broken:
    """Each sentence is a promise that was not kept."""
    yield from _person(play, promised)
    yield from _flare(play, promised)
    if not play.result.is_dir():
        yield "no result was downloaded"
        return
    job, events = read_result(play.result)
    if events[-1]["event"] != promised.last:
        yield f"the last event is {events[-1]['event']}"
    yield from _sentence("report", report_of(job, events).coverage.verdict, promised)
    yield from _store(play, promised)
    yield from _rounds(play, promised, events)
    yield from _ledgers(play, promised, events)
    yield from _audits(play)
    yield from _processes(play)
    kinds = {one["event"] for one in events}
    yield from (f"no event {kind}" for kind in promised.events if kind not in kinds)
    if promised.same_model and undisturbed is not None:
        model = load_model(play.result / "workspace" / MODEL_FILE)
        if not all(np.array_equal(model[name], undisturbed[name]) for name in undisturbed):
            yield "the model is another than without the fault"


def seconds(play: Play, promised: Promised) -> float:
    """From the fault until the next round in which everybody counted; or until the end, where no round is to come."""
    _, events = read_result(play.result)
    everybody = set(play.federation.running.kits.sites)
    back = [one["at"] for one in events if one["event"] == "round" and set(one["sites"]) == everybody]
    after = [at for at in back if at > play.fault_at] if promised.last == "finished" else []
    return float(min(after, default=events[-1]["at"]) - play.fault_at)


def load() -> float:
    """Waiting processes for each core, from 1 to 3: a machine on which others work too is so much slower."""
    return min(3.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def lost(events: Sequence[Event], site: str) -> int:
    """Rounds that counted without a site."""
    return len({one["round"] for one in events if one["event"] == "round" and site not in one["sites"]})


def repeated(play: Play, events: Sequence[Event]) -> int:
    """Largest number of rounds that a site trained more than once."""
    counts = [begun(play, site) for site in play.federation.running.kits.sites]
    return max((sum(one.values()) - len(one) for one in counts), default=0)


def _sentence(view: str, words: str, promised: Promised) -> Broken:
    if not re.fullmatch(promised.end, words):
        yield f"{view} says '{words}'"


def _person(play: Play, promised: Promised) -> Broken:
    code, said = play.follower.returncode, play.said()
    if code != (0 if promised.last == "finished" else 1):
        yield f"`job wait` ended with {code}"
    out = (play.folder / "wait.out").read_text()
    if not out:
        yield f"`job wait` told no end: {said[-1:]}"
        return
    answer = json.loads(out)
    yield from _sentence("terminal", answer["end"], promised)
    if (answer["status"], answer["state"]) != (promised.flare, promised.last):
        yield f"`job wait` says {answer['status']}, {answer['state']}"
    yield from (f"the person never read '{part}'" for part in promised.told if not any(part in line for line in said))


def _flare(play: Play, promised: Promised) -> Broken:
    stands = play.federation.running.session.standing(play.job_id)
    if stands is None or stands.flare != promised.flare:
        yield f"FLARE says {None if stands is None else stands.flare}"
    elif stands.job is None:
        yield "the console tells no state"
    else:
        yield from _sentence("console", worded(stands.job), promised)


def _store(play: Play, promised: Promised) -> Broken:
    with Store.open(play.federation.kits[SERVER] / STORE_FILE) as store:
        with store.turn() as connection:
            job = queries.job(connection, play.job_id)
            words = None if job is None else worded(state_of(connection, job))
        text = exposition(StoreCollector(lambda: store)).decode()
    if job is None or words is None or job.state != promised.last:
        yield f"the store says {None if job is None else job.state}"
        return
    yield from _sentence("dashboard", words, promised)
    gauge = rf'^fedward_job_{promised.last}\{{fl_job="{play.job_id}".*\}} 1\.0$'
    if not re.search(gauge, text, re.M):
        yield "the gauge is not at 1"


def _rounds(play: Play, promised: Promised, events: Sequence[Event]) -> Broken:
    for site in play.federation.running.kits.sites:
        most = promised.lost if site == play.victim else 0
        if lost(events, site) > most:
            yield f"{site} lost {lost(events, site)} rounds"
    took = seconds(play, promised)
    if took > promised.within_s * load():
        yield f"it took {took:.1f} s, with a load of {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"


def _ledgers(play: Play, promised: Promised, events: Sequence[Event]) -> Broken:
    play.federation.mend()  # a site that is gone settles its charge when it is back
    for site in play.federation.running.kits.sites:
        yield from faults_of(play, site, events)
    if repeated(play, events) > promised.repeated:
        yield f"{repeated(play, events)} rounds were paid twice"


def _audits(play: Play) -> Broken:
    for who, kit in play.federation.kits.items():
        log = log_of_kit(kit)
        try:
            if log is None or verify(log).last.number == 0:
                yield f"{who} has no audit log"
        except FedwardError as error:
            yield f"audit log of {who}: {error}"


def _processes(play: Play) -> Broken:
    def left() -> list[psutil.Process]:
        whose = play.federation.kits
        return [one for who in whose for one in play.federation.processes(who, job_id=play.job_id)]

    try:
        wait_for(lambda: not left(), what="no process is left", within_s=10.0)
    except AssertionError:
        yield f"{len(left())} processes of the job are left"
