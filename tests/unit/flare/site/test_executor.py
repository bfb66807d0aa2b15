"""Check that a site's refusal never contains its paths, its values or its patients."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import get_args

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.apis.utils.event import fire_event_to_components

from fedward.errors import CohortError, JobError, LedgerError, SettingsError, StudyError
from fedward.flare.protocol import Task, refusal
from fedward.flare.site.executor import HospitalExecutor
from fedward.flare.site.site_job import _WAYS
from fedward.privacy.policy.approvals import Way
from fedward.settings import Disclosure
from tests.support.disclosure import release

SECRET = "DOE^JANE"


@pytest.mark.parametrize(
    "error",
    [
        CohortError("label 'tb' holds neither yes nor no", where=Path(f"/data/{SECRET}"), value=SECRET, remedy=SECRET),
        StudyError("truncated", f"file {SECRET}.dcm ends early"),
        SettingsError(f"cohorts.chest.images: wrong (found '{SECRET}')", where="site.toml"),
        JobError("loss is not finite", where=SECRET),
        ValueError(f"cannot read {SECRET}"),
        RuntimeError(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_the_server_learns_no_path_value_or_name(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = HospitalExecutor()

    def fail(context: FLContext) -> None:
        raise error

    monkeypatch.setattr("fedward.flare.site.executor.SiteJob", fail)
    answer = executor.execute(Task.ADMIT.value, Shareable(), FLContext(), Signal())
    reason = refusal(answer)
    assert reason
    assert "\n" not in reason
    assert SECRET not in str(answer)


def test_every_way_of_admission_has_a_word_that_may_leave() -> None:
    assert set(_WAYS) == set(get_args(Way))
    disclosure = Disclosure(metrics=("cohort",), decimals=3, min_count=10)
    for word in _WAYS.values():
        assert release({"admission": word}, disclosure, private=True) == {"admission": word}
    assert release({"admission": SECRET}, disclosure, private=True) == {"admission": None}


def test_a_task_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward.flare.site.executor.SiteJob", lambda context: None)
    assert refusal(HospitalExecutor().execute("upload_everything", Shareable(), FLContext(), Signal()))


@pytest.mark.parametrize("error", [LedgerError(SECRET), OSError(SECRET), KeyError(SECRET), RecursionError(SECRET)])
def test_an_error_at_the_jobs_end_stays_in_the_sites_log(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    class Site:
        def close(self, *, ordinary: bool) -> None:
            raise error

    executor, context = HospitalExecutor(), FLContext()
    executor._site = Site()  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR):
        fire_event_to_components(EventType.END_RUN, [executor], context)
    assert not context.get_prop(FLContextKey.EXCEPTIONS), "FLARE's components are told of it"
    assert "the ledger keeps this job open" in caplog.text
