"""Settings changed by name."""

from __future__ import annotations

from typing import Any

import pytest

from fedward.demo.search.override import choices, dotted, override
from fedward.errors import SettingsError
from fedward.settings import JobSpec, plain
from tests.support.starts import job_of, npz, trained


def test_a_change_is_that_setting_alone(tiny_job: JobSpec) -> None:
    before, changed = plain(tiny_job), override(tiny_job, {"training.lr": 0.5, "federation.rounds": 9})
    after = plain(changed)
    assert (after["training"].pop("lr"), after["federation"].pop("rounds")) == (0.5, 9)
    assert (before["training"].pop("lr"), before["federation"].pop("rounds")) == (0.003, 2)
    assert before == after


def test_a_changed_job_still_starts_from_its_file() -> None:
    content = npz(trained())
    changed = override(job_of(content), {"training.lr": 0.5})
    assert changed.model.start_bytes == content


def test_of_two_settings_that_exclude_each_other_the_new_one_stays(tiny_job: JobSpec) -> None:
    steps = override(tiny_job, {"training.local_steps": 7}).training
    assert (steps.local_steps, steps.local_epochs) == (7, None)
    with pytest.raises(SettingsError, match="exactly one of local_epochs and local_steps"):
        override(tiny_job, {"training.local_steps": 7, "training.local_epochs": 1})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"training.lrr": 0.1}, r"training\.lrr: is no setting here; did you mean training\.lr\?"),
        ({"trainig.lr": 0.1}, r"trainig: is no setting here; did you mean training\?"),
        ({"lr": 0.1}, r"lr: is no setting here; did you mean training\.lr"),
        ({"training.lr": -1}, r"training\.lr: .* \(found -1\)"),
        ({"training.lr.x": 1}, r"training\.lr is no table, so it has no x"),
        ({"federation.rounds": "6"}, "is a whole number, without quotes"),
        ({"training.loss.nam": "x"}, r"did you mean training\.loss\.name\?"),
    ],
)
def test_what_is_no_setting_is_refused_with_the_one_that_is_meant(
    tiny_job: JobSpec, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as refusal:
        override(tiny_job, settings)
    assert len(str(refusal.value).splitlines()) == 1


def test_tables_are_merged_and_a_named_one_is_replaced(tiny_job: JobSpec) -> None:
    loss = {"name": "FocalLoss", "args": {"gamma": 2.0}}
    found = dotted({"training": {"lr": 0.1, "loss": loss}, "job": {"name": "other"}}, job=tiny_job)
    assert found == {"training.lr": 0.1, "training.loss": loss, "job.name": "other"}
    args = dotted({"training": {"loss": {"args": {"gamma": 3.0}}}}, job=tiny_job)
    assert override(override(tiny_job, found), args).training.loss.args == {"gamma": 3.0}
    assert dotted({"encryption": {"scheme": "masked"}}, job=tiny_job) == {"encryption": {"scheme": "masked"}}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("training.lr=0.01,3e-2", (0.01, 0.03)),
        ("training.optimizer=SGD, Adam", ("SGD", "Adam")),
        ('training.optimizer="SGD","Adam"', ("SGD", "Adam")),
        ("data.size=[32,32],[64, 64]", ([32, 32], [64, 64])),
        ("data.keep_shape=true,false", (True, False)),
        ("federation.rounds=4", (4,)),
    ],
)
def test_values_are_toml_and_a_bare_word_is_text(text: str, values: tuple[Any, ...]) -> None:
    assert choices(text) == (text.partition("=")[0], values)


@pytest.mark.parametrize("text", ["training.lr", "=1", "training.lr=", "training.lr=1,1", "training.lr=1,,2", ""])
def test_what_is_no_list_of_values_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--set: .*write SETTING=VALUE"):
        choices(text)
