"""How often sites ask for a task: FLARE's own runner tells them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.private.defs import TaskConstant
from nvflare.private.fed.server.server_runner import ServerRunner, ServerRunnerConfig

from fedward.flare.server.asking.pacing import REQUESTS_PER_S, pace, pause_s
from fedward.privacy.policy.canonical_job import POLL_S


@pytest.mark.parametrize(("sites", "seconds"), [(0, POLL_S), (3, POLL_S), (5, POLL_S), (50, 0.5), (200, 2.0)])
def test_many_sites_ask_less_often(sites: int, seconds: float) -> None:
    assert pause_s(sites) == pytest.approx(seconds)
    assert sites / pause_s(sites) <= REQUESTS_PER_S * 1.000001


def test_flares_runner_tells_the_sites() -> None:
    config = ServerRunnerConfig(60, POLL_S, [], {}, {})
    context = FLContext()
    context.set_prop(FLContextKey.RUNNER, SimpleNamespace(config=config), private=True, sticky=False)
    pace(context, sites=50)
    _, _, data = ServerRunner._task_try_again(SimpleNamespace(config=config))
    assert data.get_header(TaskConstant.WAIT_TIME) == 0.5


def test_a_server_without_flares_runner_goes_on() -> None:
    pace(FLContext(), sites=50)
