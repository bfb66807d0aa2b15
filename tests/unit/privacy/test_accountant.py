"""Check ε against dp-accounting and Opacus, and the noise that a wanted ε needs."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from dp_accounting import (
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.errors import JobError
from fedward.privacy import accountant
from fedward.privacy.accountant import (
    Event,
    check_delta,
    epsilon,
    epsilon_prv,
    largest_delta,
    noise_for,
    update_noise_event,
)

pytestmark = pytest.mark.slow


def event(rate: float, noise: float, steps: int) -> Event:
    return Event(sampling_rate=rate, noise_multiplier=noise, steps=steps)


def oracle(*events: Event, delta: float) -> float:
    """dp-accounting's own accountant, given each event's noise over the bound, at its default discretisation."""
    pld = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for one in events:
        step = PoissonSampledDpEvent(one.sampling_rate, GaussianDpEvent(one.noise_multiplier))
        pld.compose(SelfComposedDpEvent(step, one.steps))
    return float(pld.get_epsilon(delta))


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "prv", "pld"),
    [
        (0.064, 1.0, 800, 1e-4, 11.35, 11.34),
        (0.01, 0.6, 1000, 1e-5, 7.44, 7.43),
        (0.5, 5.0, 200, 1e-4, 5.89, 5.87),
    ],
)
def test_published_settings(rate: float, noise: float, steps: int, delta: float, prv: float, pld: float) -> None:
    """Tolerance: the rounding to two decimals of the measured table; for PRV its own error of 0.01."""
    done = [event(rate, noise, steps)]
    assert epsilon(done, delta=delta) == pytest.approx(pld, abs=0.0051)
    assert epsilon_prv(done, delta=delta) == pytest.approx(prv, abs=0.01)


def test_three_jobs_in_a_row() -> None:
    jobs = [event(0.1, 1.0, 40), event(0.064, 1.3, 100), event(1.0, 4.0, 3)]
    together = epsilon(jobs, delta=1e-4)
    assert together == pytest.approx(oracle(*jobs, delta=1e-4), rel=1e-6)
    assert epsilon(jobs[::-1], delta=1e-4) == together
    assert epsilon_prv(jobs, delta=1e-4) == pytest.approx(together, rel=0.03)
    alone = [epsilon([job], delta=1e-4) for job in jobs]
    assert max(alone) < together < sum(alone)


def test_the_same_job_again_costs_less_than_its_epsilon_again() -> None:
    """As measured: a job of ε = 5 costs 7.4 twice and 12.7 five times."""
    job = event(0.1, noise_for(epsilon=5.0, delta=1e-5, sampling_rate=0.1, steps=200), 200)
    assert epsilon([job] * 2, delta=1e-5) == epsilon([event(0.1, job.noise_multiplier, 400)], delta=1e-5)
    assert 7.0 < epsilon([job] * 2, delta=1e-5) < 7.8
    assert 12.0 < epsilon([job] * 5, delta=1e-5) < 13.4


@settings(max_examples=5, deadline=None)
@given(
    rate=st.floats(0.1, 1.0), noise=st.floats(2.0, 8.0), steps=st.integers(1, 60), delta=st.sampled_from([1e-3, 1e-5])
)
def test_more_steps_more_patients_less_noise_cost_more(rate: float, noise: float, steps: int, delta: float) -> None:
    here = epsilon([event(rate, noise, steps)], delta=delta)
    slack = 1 + 1e-6
    assert epsilon([event(rate, noise, steps + 1)], delta=delta) * slack >= here
    assert epsilon([event(rate * 0.9, noise, steps)], delta=delta) <= here * slack
    assert epsilon([event(rate, noise * 1.1, steps)], delta=delta) <= here * slack
    assert epsilon([event(rate, noise, steps)], delta=delta / 2) * slack >= here


@pytest.mark.parametrize(
    ("rate", "noise", "steps"), [(0.02, 0.8, 500), (0.2, 2.0, 100), (0.9, 6.0, 50), (1.0, 5.0, 10)]
)
def test_two_accountants_agree(rate: float, noise: float, steps: int) -> None:
    done = [event(rate, noise, steps)]
    assert epsilon_prv(done, delta=1e-4) == pytest.approx(epsilon(done, delta=1e-4), rel=0.03)


@pytest.mark.parametrize("steps", [1, 10])
def test_the_gaussian_mechanism_in_closed_form(steps: int) -> None:
    """Without sampling, δ(ε) is known (Balle and Wang 2018, theorem 8), with σ / sqrt(steps) over the sensitivity."""

    def upper(x: float) -> float:
        return 0.5 * math.erfc(x / math.sqrt(2))

    mu = math.sqrt(steps) / 4.0
    found = epsilon([event(1.0, 4.0, steps)], delta=1e-4)
    exact = upper(found / mu - mu / 2) - math.exp(found) * upper(found / mu + mu / 2)
    assert exact == pytest.approx(1e-4, rel=1e-3) and exact <= 1e-4


@pytest.mark.parametrize("measure", [epsilon, epsilon_prv])
def test_nothing_done_and_nothing_hidden(measure: Any) -> None:
    assert measure([], delta=1e-5) == 0.0
    assert measure([event(0.5, 0.0, 0), event(0.5, 1.0, 0)], delta=1e-5) == 0.0
    assert measure([event(0.5, 0.0, 1)], delta=1e-5) == math.inf
    assert measure([event(0.5, 2.0, 10), event(1e-9, 0.0, 1)], delta=1e-5) == math.inf


def test_much_and_little() -> None:
    assert epsilon([event(0.01, 1e6, 10)], delta=1e-5) == 0.0
    assert epsilon([event(1.0, 1.0, 1000)], delta=1e-5) > 600
    assert epsilon([event(1.0, 0.06, 10_000)], delta=1e-5) > 1e6
    assert epsilon([event(0.5, 0.01, 1)], delta=1e-5) == math.inf
    coarse = epsilon([event(0.1, 0.5, 300)], delta=1e-5)
    assert oracle(event(0.1, 0.5, 300), delta=1e-5) <= coarse * (1 + 1e-9) <= 1.001 * coarse


@pytest.mark.parametrize("measure", [epsilon, epsilon_prv])
def test_a_result_that_is_no_number_is_within_no_cap(measure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
    from opacus.accountants import PRVAccountant

    monkeypatch.setattr(PrivacyLossDistribution, "get_epsilon_for_delta", lambda *_: math.nan)
    monkeypatch.setattr(PRVAccountant, "get_epsilon", lambda *_: math.nan)
    assert measure([event(0.123, 1.23, 12)], delta=1e-5) == math.inf
    accountant._epsilon.cache_clear()


@pytest.mark.parametrize(
    ("wanted", "delta", "rate", "steps"),
    [
        (8.0, 1e-4, 0.1, 200),
        (1.0, 1e-5, 0.02, 300),
        (3.0, 1e-3, 0.5, 30),
        (0.05, 1e-4, 1.0, 10),
        (50.0, 1e-4, 0.1, 200),
    ],
)
def test_noise_is_enough_and_hardly_more(wanted: float, delta: float, rate: float, steps: int) -> None:
    noise = noise_for(epsilon=wanted, delta=delta, sampling_rate=rate, steps=steps)
    assert epsilon([event(rate, noise, steps)], delta=delta) <= wanted
    assert epsilon([event(rate, noise / 1.0015, steps)], delta=delta) > wanted
    assert noise == float(f"{noise:.5g}")


@settings(max_examples=5, deadline=None)
@given(rate=st.floats(0.1, 1.0), noise=st.floats(1.0, 8.0), steps=st.integers(1, 40))
def test_any_event_is_dp_accountings(rate: float, noise: float, steps: int) -> None:
    pld = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    step = PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
    told = epsilon([event(rate, noise, steps)], delta=1e-4)
    assert told >= float(pld.compose(SelfComposedDpEvent(step, steps)).get_epsilon(1e-4)) * (1 - 1e-6)
    assert epsilon_prv([event(rate, noise, steps)], delta=1e-4) == pytest.approx(told, rel=0.03, abs=0.02)


def test_the_noise_that_is_found_is_enough_for_the_sensitivity() -> None:
    noise = noise_for(epsilon=1.0, delta=1e-5, sampling_rate=0.2, steps=30)
    assert oracle(event(0.2, noise, 30), delta=1e-5) <= 1.0
    assert oracle(event(0.2, noise / 1.002, 30), delta=1e-5) > 1.0


def test_noise_makes_room_for_what_was_done_before() -> None:
    before = [event(1.0, 6.0, 4), event(1.0, 8.0, 5)]
    asked = {"epsilon": 8.0, "delta": 1e-4, "sampling_rate": 0.5, "steps": 10}
    noise = noise_for(**asked, before=before)  # type: ignore[arg-type]
    assert noise > noise_for(**asked)  # type: ignore[arg-type]
    assert epsilon([*before, event(0.5, noise, 10)], delta=1e-4) <= 8.0
    assert epsilon([*before, event(0.5, noise / 1.0015, 10)], delta=1e-4) > 8.0


def test_no_noise_makes_room_where_all_is_spent() -> None:
    spent = [event(0.1, 1.0, 40)]
    for before in (spent, [event(0.1, 0.0, 1)]):
        with pytest.raises(JobError, match="no noise keeps epsilon"):
            noise_for(epsilon=3.0, delta=1e-4, sampling_rate=0.1, steps=10, before=before)


def test_an_update_moves_across_the_whole_ball() -> None:
    """Twice the clip: the event's multiplier is half of the job's."""
    done = update_noise_event(5.0, rounds=10)
    assert done == event(1.0, 2.5, 10)
    assert epsilon([done], delta=1e-4) == pytest.approx(oracle(event(1.0, 2.5, 10), delta=1e-4), rel=1e-6)


def test_largest_delta() -> None:
    assert largest_delta(100) == pytest.approx(1e-3)
    check_delta(1e-3, patients=100, where="north")
    with pytest.raises(JobError) as refusal:
        check_delta(0.00101, patients=100, where="north")
    line = str(refusal.value)
    assert line.startswith("north: delta is too large: 0.00101") and "at most 0.001" in line and "\n" not in line


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: event(0.0, 1.0, 1),
        lambda: event(1.1, 1.0, 1),
        lambda: event(math.nan, 1.0, 1),
        lambda: event(0.5, -1.0, 1),
        lambda: event(0.5, math.nan, 1),
        lambda: event(0.5, math.inf, 1),
        lambda: event(0.5, 1.0, -1),
        lambda: event(0.5, 1.0, 1.5),  # type: ignore[arg-type]
        lambda: Event(unit="image", sampling_rate=0.5, noise_multiplier=1.0, steps=1),  # type: ignore[arg-type]
        lambda: epsilon([], delta=0.0),
        lambda: epsilon([], delta=math.nan),
        lambda: epsilon_prv([], delta=1.0),
        lambda: noise_for(epsilon=0.0, delta=1e-5, sampling_rate=0.5, steps=1),
        lambda: noise_for(epsilon=math.inf, delta=1e-5, sampling_rate=0.5, steps=1),
        lambda: noise_for(epsilon=1.0, delta=1e-5, sampling_rate=0.5, steps=0),
        lambda: noise_for(epsilon=1.0, delta=1e-5, sampling_rate=2.0, steps=1),
        lambda: noise_for(epsilon=1.0, delta=2.0, sampling_rate=0.5, steps=1),
        lambda: largest_delta(0),
        lambda: check_delta(0.0, patients=10, where="north"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(wrong: Any) -> None:
    with pytest.raises(JobError) as refusal:
        wrong()
    assert len(str(refusal.value).splitlines()) == 1


def test_importing_it_is_light() -> None:
    heavy = "{'torch', 'opacus', 'dp_accounting', 'scipy'}"
    code = f"import sys, fedward.privacy.accountant; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
