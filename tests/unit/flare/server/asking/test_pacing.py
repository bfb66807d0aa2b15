"""How often sites ask for a task: FLARE's own runner tells them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.private.defs import TaskConstant
from nvflare.private.fed.server.server_runner import ServerRunner, ServerRunnerConfig

from fedward.flare.server.asking.pacing import MOST_S, OF_GRACE, REQUESTS_PER_S, SHARE, pace, pause_s
from fedward.privacy.policy.canonical_job import POLL_S

GRACE_S = 60.0


@pytest.mark.parametrize(("sites", "since_s", "seconds"), [(0, 0.0, POLL_S), (2, 0.9, POLL_S), (3, 10.0, 0.5)])
def test_a_long_task_is_asked_after_less_often(sites: int, since_s: float, seconds: float) -> None:
    assert pause_s(sites, since_s=since_s, grace_s=GRACE_S) == pytest.approx(seconds)


@given(sites=st.integers(0, 10_000), since_s=st.floats(0.0, 1e6), grace_s=st.floats(0.0, 1e4))
def test_sites_ask_seldom_and_lose_no_grace_by_it(sites: int, since_s: float, grace_s: float) -> None:
    pause = pause_s(sites, since_s=since_s, grace_s=grace_s)
    most = max(POLL_S, min(MOST_S, OF_GRACE * grace_s))
    assert POLL_S <= pause <= most
    assert pause == most or sites / pause <= REQUESTS_PER_S * 1.000001
    assert pause <= max(POLL_S, sites / REQUESTS_PER_S, SHARE * since_s)


class Context(FLContext):  # type: ignore[misc]
    """FLARE's context of a job with so many connected sites, whose runner has this configuration."""

    def __init__(self, config: ServerRunnerConfig, *, sites: int) -> None:
        super().__init__()
        self.set_prop(FLContextKey.RUNNER, SimpleNamespace(config=config), private=True, sticky=False)
        self._sites = [object()] * sites

    def get_engine(self) -> SimpleNamespace:
        return SimpleNamespace(get_clients=lambda: self._sites)


def test_flares_runner_tells_the_sites() -> None:
    config = ServerRunnerConfig(60, POLL_S, [], {}, {})
    pace(Context(config, sites=50), since_s=0.0, grace_s=GRACE_S)
    _, _, data = ServerRunner._task_try_again(SimpleNamespace(config=config))
    assert data.get_header(TaskConstant.WAIT_TIME) == 1.0


def test_a_server_without_flares_runner_goes_on() -> None:
    pace(FLContext(), since_s=0.0, grace_s=GRACE_S)
