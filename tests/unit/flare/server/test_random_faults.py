"""Let hypothesis interleave faults of sites with a running job, and check what must hold whatever they do.

The controller runs in a thread that goes on only while the machine lets simulated time pass: there is no race.
"""

from __future__ import annotations

import random
import tempfile
import threading
from collections import deque
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fedward.flare.protocol import Task
from fedward.flare.server.asking.broadcast import POLL_S
from fedward.metrics.events import EVENTS_FILE, EventReader
from tests.support.flare.simulated import FOREVER, Act, Federation, Script, Simulated, SimulatedClock
from tests.support.flare.simulated_checks import GraceWatch, assert_whole

SITES = ("city", "coast", "north", "south", "west")
GRACE_S, TIMEOUT_S, EXAMPLES, STEPS = 10.0, 60.0, 25, 40
FEDERATION = {"rounds": 12, "min_sites": 2, "grace_s": GRACE_S, "round_timeout_s": TIMEOUT_S}
sites, seconds = st.sampled_from(SITES), st.floats(0.1, 90.0)
FAULTS = {"count": 0}


class SteppedClock(SimulatedClock):
    """Clock that goes on no further than it was let."""

    def __init__(self) -> None:
        super().__init__()
        self.until, self.go, self.paused = 0.0, threading.Semaphore(0), threading.Semaphore(0)

    def sleep(self, seconds: float) -> None:
        while self.now >= self.until:
            self.paused.release()
            self.go.acquire()
        super().sleep(seconds)


class Faults(RuleBasedStateMachine):
    """A job of five sites; the rules are what happens to them."""

    @initialize(stragglers=st.sampled_from(["cut", "wait", "fewer_steps"]), select=st.sampled_from(["last", "best"]))
    def begin(self, stragglers: str, select: str) -> None:
        self.folder, self.patch = tempfile.TemporaryDirectory(), pytest.MonkeyPatch()
        self.next: dict[str, deque[Act]] = {site: deque() for site in SITES}
        self.clock, self.aborted_s, self.lost = SteppedClock(), FOREVER, set[str]()
        asked = {**FEDERATION, "stragglers": stragglers, "select": select}
        scripts = {site: self._script(site) for site in SITES}
        self.federation = Federation(Path(self.folder.name), scripts, clock=self.clock, federation=asked)
        self.federation.controller.lost = lambda site: site in self.lost
        self.watch = GraceWatch(self.federation, self.patch)
        self.result: list[Simulated] = []
        self.log = Path(self.folder.name) / "job-1" / EVENTS_FILE
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.clock.paused.acquire()

    def _script(self, site: str) -> Script:
        def act(task: Task, number: int, draw: random.Random) -> Act:
            waiting = self.next[site]
            return waiting.popleft() if waiting else Act("answer", draw.uniform(1.0, 4.0))

        return act

    def _run(self) -> None:
        try:
            self.result.append(self.federation.run())
        finally:
            self.clock.paused.release()

    def _pass(self, seconds: float) -> None:
        self.clock.until = self.clock.now + seconds
        self.clock.go.release()
        self.clock.paused.acquire()

    @property
    def running(self) -> bool:
        return not self.result and self.thread.is_alive()

    @rule(site=sites, deed=st.sampled_from(["answer", "refuse", "twice", "other", "nan"]), after_s=seconds)
    def fault(self, site: str, deed: str, after_s: float) -> None:
        self.next[site].append(Act(deed, after_s))  # type: ignore[arg-type]
        FAULTS["count"] += 1

    @rule(site=sites, away_s=st.one_of(seconds, st.just(FOREVER)))
    def vanish(self, site: str, away_s: float) -> None:
        self.next[site].append(Act("vanish", away_s))
        FAULTS["count"] += 1

    @precondition(lambda self: self.running)
    @rule(site=sites, away_s=seconds)
    def kill(self, site: str, away_s: float) -> None:
        self.federation.leave(site, for_s=away_s)
        FAULTS["count"] += 1

    @rule(site=sites)
    def lose(self, site: str) -> None:
        """FLARE says that it hears nothing from a site, or that it does again, whether that is so or not."""
        self.lost ^= {site}
        FAULTS["count"] += 1

    @precondition(lambda self: self.running)
    @rule(seconds=st.floats(0.1, 60.0))
    def wait(self, seconds: float) -> None:
        self._pass(seconds)

    @precondition(lambda self: self.running and self.clock.now > 200.0)
    @rule()
    def abort(self) -> None:
        self.aborted_s = self.clock.now
        self.federation.abort.trigger("a person")
        self._pass(10 * POLL_S)
        assert not self.running and self.result[0].ended_s <= self.aborted_s + 2 * POLL_S

    @invariant()
    def rounds_ascend_and_nobody_is_waited_for_without_grace(self) -> None:
        if not hasattr(self, "log"):
            return
        rounds = [event["round"] for event in EventReader(self.log) if event["event"] == "round"]
        assert rounds == list(range(len(rounds)))
        if self.federation.stragglers != "wait":
            assert max(self.watch.most.values(), default=0.0) <= GRACE_S + 2 * POLL_S

    def teardown(self) -> None:
        if not hasattr(self, "thread"):
            return
        try:
            if self.running:
                self._pass(100_000.0)
            self.thread.join(10)
            assert self.result, "the job ended without an error"
            patients = {name: site.patients for name, site in self.federation.sites.items()}
            assert_whole(self.result[0], patients=patients)
            if self.aborted_s == FOREVER:
                assert (len(self.result[0].of("round")) == FEDERATION["rounds"]) == bool(self.result[0].of("finished"))
        finally:
            self.patch.undo()
            self.folder.cleanup()


Faults.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFaults = Faults.TestCase
TestFaults.__test__ = True


def test_some_hundred_faults_were_among_them() -> None:
    if FAULTS["count"] == 0:
        pytest.skip("the machine did not run")
    assert FAULTS["count"] >= 300, FAULTS
