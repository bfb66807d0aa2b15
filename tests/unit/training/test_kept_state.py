"""What a site keeps from round to round: two states in memory, the same on the disk, and none that does not verify."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fedward.errors import JobError
from fedward.settings import JobSpec, parse, plain
from fedward.training.kept_state import KeptState, KeptStates, read_states, write_state
from fedward.training.networks import initial_weights
from fedward.training.trainer import Trainer
from fedward.weights import Weights
from tests.unit.conftest import MakeCohort

RUN = "job-1 " + "a" * 64
KEEPS: dict[str, dict[str, object]] = {
    "momenta of SGD": {"training__optimizer": "SGD", "training__momentum": 0.9, "training__keep_optimizer": True},
    "momenta of AdamW": {"training__keep_optimizer": True},
    "FedBN": {"model__batch_norm": "local", "norm": "batch"},
    "both": {"training__keep_optimizer": True, "model__batch_norm": "local", "norm": "batch"},
}


@pytest.fixture
def job(tiny_job: JobSpec) -> Callable[..., JobSpec]:
    def make(**changes: object) -> JobSpec:
        content = plain(tiny_job)
        content["federation"]["rounds"] = 4
        content["transforms"]["augment"] = [{"name": "RandFlipd", "args": {"prob": 0.5, "spatial_axis": 1}}]
        for path, value in changes.items():
            if path == "norm":
                content["model"]["args"]["norm"] = value
                continue
            section, key = path.split("__")
            content[section][key] = value
        return parse(JobSpec, content, where="test")

    return make


def same(one: Weights, other: Weights) -> bool:
    return list(one) == list(other) and all(one[name].tobytes() == other[name].tobytes() for name in one)


def state(number: int) -> KeptState:
    return KeptState(number, {"bn": torch.full((3,), float(number))}, {"state": {0: {"exp": torch.ones(2)}}})


@pytest.mark.parametrize("keeps", KEEPS)
def test_a_trainer_that_is_made_again_goes_on_bit_for_bit(
    job: Callable[..., JobSpec], make_cohort: MakeCohort, tmp_path: Path, keeps: str
) -> None:
    spec, cohort = job(**KEEPS[keeps]), make_cohort(16)
    undisturbed = Trainer(spec, [cohort], site="north")
    through = [initial_weights(spec)]
    for number in range(4):
        through.append(undisturbed.train(through[-1], round_number=number).weights)

    weights, trainer = through[0], Trainer(spec, [cohort], site="north")
    for number in range(4):
        weights = trainer.train(weights, round_number=number).weights
        assert trainer.kept.last is not None
        write_state(tmp_path, trainer.kept.last, run=RUN)
        trainer = Trainer(spec, [cohort], site="north")
        trainer.kept.restore(read_states(tmp_path, run=RUN))
        assert same(weights, through[number + 1])
    assert trainer.validate(weights).plain() == undisturbed.validate(through[-1]).plain()
    lost = Trainer(spec, [cohort], site="north")
    assert not same(lost.train(through[3], round_number=3).weights, through[4]), "and without it, it does not"


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("keeps", KEEPS)
def test_a_round_that_comes_again_gives_the_same_update(
    job: Callable[..., JobSpec], make_cohort: MakeCohort, tmp_path: Path, keeps: str, anew: bool
) -> None:
    spec, cohort = job(**KEEPS[keeps]), make_cohort(16)
    trainer, weights = Trainer(spec, [cohort], site="north"), initial_weights(spec)
    for number in range(3):
        trainer.kept.go_back(number)
        before = trainer.validate(weights).plain()
        made = trainer.train(weights, round_number=number).weights
        assert trainer.kept.last is not None
        write_state(tmp_path, trainer.kept.last, run=RUN)
        for _ in range(2):
            if anew:
                trainer = Trainer(spec, [cohort], site="north")
                trainer.kept.restore(read_states(tmp_path, run=RUN))
            trainer.kept.go_back(number)
            assert trainer.validate(weights).plain() == before
            assert same(trainer.train(weights, round_number=number).weights, made)
        weights = made


def test_a_job_that_keeps_nothing_holds_no_state(job: Callable[..., JobSpec], make_cohort: MakeCohort) -> None:
    trainer = Trainer(job(), [make_cohort(16)], site="north")
    trainer.train(initial_weights(trainer.job), round_number=0)
    assert not trainer.kept.needed and trainer.kept.last is None


def test_two_states_are_held_and_a_round_before_them_is_refused(job: Callable[..., JobSpec]) -> None:
    kept = KeptStates(job(training__keep_optimizer=True))
    kept.go_back(0)
    for number in (0, 2, 3):
        kept.add(state(number))
    kept.add(state(3))
    assert kept.last is not None and kept.last.round_number == 3
    kept.go_back(3)
    assert kept.last is not None and kept.last.round_number == 2
    with pytest.raises(JobError, match="no longer held"):
        kept.go_back(1)
    first = KeptStates(job(training__keep_optimizer=True))
    first.add(state(0))
    first.go_back(0)
    assert first.last is None


@pytest.mark.parametrize(("left", "refused"), [([0], False), ([0, 1], False), ([1], True), ([1, 2], True)])
def test_the_initial_state_never_stands_for_one_that_was_lost(
    job: Callable[..., JobSpec], left: list[int], refused: bool
) -> None:
    kept = KeptStates(job(training__keep_optimizer=True))
    kept.restore([state(number) for number in left])
    if refused:
        with pytest.raises(JobError, match="no longer held"):
            kept.go_back(left[0])
    else:
        kept.go_back(left[0])
        assert kept.last is None


@pytest.mark.parametrize("held", [[], [2], [0], [4]])
def test_a_round_whose_state_was_lost_does_not_come_again(job: Callable[..., JobSpec], held: list[int]) -> None:
    """Another update could leave for the same model: the disk refused the states after rounds 3 and 4."""
    kept = KeptStates(job(training__keep_optimizer=True))
    kept.restore([state(number) for number in held], left=4)
    with pytest.raises(JobError, match="no longer held"):
        kept.go_back(4)
    after = KeptStates(job(training__keep_optimizer=True))
    after.restore([state(number) for number in held], left=4)
    after.go_back(5)
    assert after.last is None or after.last.round_number == held[0], "a new round starts from what is there"


def test_a_round_comes_again_from_the_state_before_it_although_a_later_one_was_lost(
    job: Callable[..., JobSpec],
) -> None:
    kept = KeptStates(job(training__keep_optimizer=True))
    kept.restore([state(2), state(3)], left=4)
    kept.go_back(4)
    assert kept.last is not None and kept.last.round_number == 3


def test_the_last_two_are_on_the_disk_and_nobody_else_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    assert read_states(folder, run=RUN) == []
    for number in (0, 1, 4, 4, 5):
        write_state(folder, state(number), run=RUN)
    assert [one.round_number for one in read_states(folder, run=RUN)] == [4, 5]
    assert sorted(path.name for path in folder.iterdir()) == ["kept-000004.state", "kept-000005.state"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert torch.equal(read_states(folder, run=RUN)[1].local["bn"], torch.full((3,), 5.0))


def test_a_file_of_which_any_byte_was_changed_is_refused(tmp_path: Path) -> None:
    write_state(tmp_path, state(3), run=RUN)
    (path,) = tmp_path.iterdir()
    original = path.read_bytes()
    for at in {*range(0, len(original), 97), *range(0, 120, 5), len(original) - 1}:
        path.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
        with pytest.raises(JobError, match="does not verify"):
            read_states(tmp_path, run=RUN)
    for content in (b"", original[:-1], original + b"x", original[:50], b"\n", b"{}\n", b"[]\n" + original):
        path.write_bytes(content)
        with pytest.raises(JobError, match="does not verify"):
            read_states(tmp_path, run=RUN)


@pytest.mark.parametrize(("round_number", "run"), [(4, RUN), (3, "job-2 " + "a" * 64), (3, "job-1 " + "b" * 64)])
def test_a_state_of_another_round_or_run_is_refused(tmp_path: Path, round_number: int, run: str) -> None:
    write_state(tmp_path, state(round_number), run=run)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "kept-000003.state")
    with pytest.raises(JobError, match="does not verify"):
        read_states(tmp_path, run=RUN)


def test_no_code_in_a_file_runs(tmp_path: Path) -> None:
    """Whoever can write the checksum too gets no code to run."""
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(ran),))

    write_state(tmp_path, KeptState(0, {"bn": Trap()}, None), run=RUN)  # type: ignore[dict-item]
    with pytest.raises(JobError, match="does not verify"):
        read_states(tmp_path, run=RUN)
    assert not ran.exists()


def test_what_is_held_does_not_change_with_later_steps() -> None:
    tensor = torch.zeros(3)
    held = KeptState.copied(0, {"bn": tensor}, {"state": {0: {"exp": tensor}}})
    tensor += 1
    assert held.optimizer is not None
    np.testing.assert_array_equal(held.local["bn"].numpy(), 0)
    np.testing.assert_array_equal(held.optimizer["state"][0]["exp"].numpy(), 0)


def test_a_file_is_one_line_of_json_and_the_state(tmp_path: Path) -> None:
    write_state(tmp_path, state(3), run=RUN)
    (path,) = tmp_path.iterdir()
    head = json.loads(path.read_bytes().partition(b"\n")[0])
    assert (head["format"], head["run"], head["round"]) == (1, RUN, 3)
