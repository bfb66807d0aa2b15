"""A checkpoint is whole or not there: killed at any step, cut or changed at any byte, never another model."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.aggregation.best import Candidate
from fedward.errors import FederationError
from fedward.flare.protocol import Model, Sum
from fedward.flare.server.checkpoints import checkpoint as module
from fedward.flare.server.checkpoints.checkpoint import Checkpoint, load, save
from fedward.weights import Weights

JOB, JOB_ID = "a" * 64, "job-1"


def weights(seed: int) -> Weights:
    draw = np.random.default_rng(seed)
    return {"bias": draw.normal(size=3).astype(np.float32), "count": np.array(seed), "weight": np.zeros((2, 0, 3))}


def made(after: int, *, encrypted: bool = False) -> Checkpoint:
    model = (
        Model(after=after, sealed=f"sum {after}".encode()) if encrypted else Model(after=after, weights=weights(after))
    )
    best = None if after == 0 else Candidate(after=after - 1, model=replace(model, after=after - 1), score=0.1 + after)
    return Checkpoint(
        job=JOB,
        job_id=JOB_ID,
        sites=("coast", "north"),
        left_out={"city": "came back as another"},
        key=("bfv", "c" * 32) if encrypted else None,
        roster={"north": "d" * 32} if encrypted else None,
        model=model,
        best=best,
        step={} if encrypted else {"last": weights(after + 50), "mean": weights(after + 60)},
        selected=after > 1,
        opened=encrypted and after > 1,
        sums=((("coast", "north"), Sum(purpose="scores", sealed=b"counts")),) if encrypted else (None, ())[after % 2],
        missed={"north": "no answer in time"},
        events=({"event": "round", "at": 1.25, "round": after - 1, "wall_s": 0.1},),
    )


def plain(one: Any) -> Any:
    """The content as it can be compared, arrays by dtype, shape and bytes."""
    if isinstance(one, np.ndarray):
        return one.dtype.str, one.shape, one.tobytes()
    if isinstance(one, dict):
        return {name: plain(value) for name, value in one.items()}
    if isinstance(one, list | tuple):
        return [plain(value) for value in one]
    if hasattr(one, "__dataclass_fields__"):
        return {name: plain(getattr(one, name)) for name in one.__dataclass_fields__}
    return one


def read(folder: Path) -> Checkpoint | None:
    return load(folder, job=JOB, job_id=JOB_ID)[0]


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_is_saved_is_read(tmp_path: Path, encrypted: bool) -> None:
    assert read(tmp_path / "none") is None
    for after in range(4):
        save(tmp_path / "job", made(after, encrypted=encrypted))
        assert plain(read(tmp_path / "job")) == plain(made(after, encrypted=encrypted))
    assert sorted(path.name for path in (tmp_path / "job").iterdir()) == ["g-00000003", "g-00000004"]
    for path in (tmp_path / "job").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
        assert not path.is_file() or pickle.PROTO not in path.read_bytes()[:1]


def test_the_initial_model_of_an_encrypted_job_has_no_file(tmp_path: Path) -> None:
    save(tmp_path, replace(made(0, encrypted=True), model=Model(after=0)))
    found = read(tmp_path)
    assert found is not None and found.model == Model(after=0)


# killed at any step


class Steps:
    """Every call by which ``save`` changes the disk; the n-th one ends the process, half done where it can be."""

    NAMES = ("open", "write", "fsync", "mkdir", "rename", "unlink", "rmdir")

    def __init__(self, last: int, *, stop: Callable[[], None]) -> None:
        self.last, self.count, self._stop = last, 0, stop
        self._real = {name: getattr(os, name) for name in self.NAMES}

    def step(self, name: str, *given: Any, **named: Any) -> Any:
        self.count += 1
        if self.count == self.last:
            if name == "write":
                self._real[name](given[0], bytes(given[1])[: len(given[1]) // 2])
            self._stop()
        return self._real[name](*given, **named)

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        for name in self.NAMES:
            patch.setattr(os, name, lambda *given, _name=name, **named: self.step(_name, *given, **named))


def steps_of_a_save(tmp_path: Path) -> int:
    folder = tmp_path / "count"
    for after in range(3):
        save(folder, made(after))
    count = Steps(0, stop=lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        count.patch(patch)
        save(folder, made(3))
    return count.count


def killed_at(last: int, tmp_path: Path) -> Path:
    """Return a folder with two checkpoints, and what a process that was killed at a step left of the third.

    A fork of a process with many threads may end by a fault of its own: another one is made then, in a new folder.
    """
    codes = []
    for attempt in range(5):
        folder = tmp_path / f"{last}-{attempt}"
        for after in range(3):
            save(folder, made(after))
        child = os.fork()
        if child == 0:  # no code of the child runs after its last step
            Steps(last, stop=lambda: os._exit(9)).patch(pytest.MonkeyPatch())
            save(folder, made(3))
            os._exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if codes[-1] == 9:
            return folder
        assert codes[-1] < 0, "it ended without the step"
    raise AssertionError(f"no process reached step {last}: {codes}")


def test_a_process_killed_at_any_step_leaves_the_old_checkpoint_or_the_new_one(tmp_path: Path) -> None:
    total = steps_of_a_save(tmp_path)
    assert total > 20
    found = []
    for last in range(1, total + 1):
        folder = killed_at(last, tmp_path)
        one = read(folder)
        assert one is not None and plain(one) == plain(made(one.model.after))
        found.append(one.model.after)
        save(folder, made(4))  # and what is left of it is in nobody's way
        assert plain(read(folder)) == plain(made(4))
        assert len(list(folder.iterdir())) == 2
    assert found == sorted(found) and set(found) == {2, 3}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_no_more_leaves_the_old_checkpoint_and_the_save_may_be_repeated(
    tmp_path: Path, code: int
) -> None:
    def full() -> None:
        raise OSError(code, os.strerror(code))

    for last in range(1, steps_of_a_save(tmp_path) + 1):
        folder = tmp_path / f"{code}-{last}"
        save(folder, made(2))
        with pytest.MonkeyPatch.context() as patch:
            Steps(last, stop=full).patch(patch)
            try:
                save(folder, made(3))
            except OSError as error:
                assert error.errno == code
        one = read(folder)
        assert one is not None and plain(one) == plain(made(one.model.after))
        save(folder, made(3))
        assert plain(read(folder)) == plain(made(3))


# cut and changed


def files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_that_was_changed_anywhere_costs_its_generation(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, encrypted = tmp_path_factory.mktemp("job"), data.draw(st.booleans())
    for after in (1, 2):
        save(folder, made(after, encrypted=encrypted))
    path = data.draw(st.sampled_from(list(files(folder / "g-00000002"))))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        del content[at:]
    path.write_bytes(content)
    found, damaged = load(folder, job=JOB, job_id=JOB_ID)
    assert found is not None
    if damaged:
        assert len(damaged) == 1 and damaged[0].startswith("g-00000002: ")
        assert plain(found) == plain(made(1, encrypted=encrypted))
    else:  # white space of the outer JSON
        assert path.name == "state.json" and plain(found) == plain(made(2, encrypted=encrypted))


@pytest.mark.parametrize("name", ["state.json", "model.npz", "best.npz", "step-last.npz"])
def test_a_file_that_is_gone_costs_its_generation(tmp_path: Path, name: str) -> None:
    for after in (1, 2):
        save(tmp_path, made(after))
    (tmp_path / "g-00000002" / name).unlink()
    found, (damaged,) = load(tmp_path, job=JOB, job_id=JOB_ID)
    assert found is not None and found.model.after == 1 and name in damaged and "missing" in damaged
    (tmp_path / "g-00000001" / name).unlink()
    with pytest.raises(FederationError, match="no checkpoint of the job is whole") as refused:
        read(tmp_path)
    assert "\n" not in str(refused.value)


def test_what_is_no_generation_or_no_draft_is_in_nobodys_way(tmp_path: Path) -> None:
    """A file, a link or an empty folder of a generation's name; a draft that is a file or a link."""
    for after in (1, 2):
        save(tmp_path, made(after))
    (tmp_path / "g-00000003").write_text("")
    (tmp_path / "g-00000004").symlink_to(tmp_path / "g-00000001")
    assert plain(read(tmp_path)) == plain(made(2))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for make in (lambda path: path.write_text(""), lambda path: path.symlink_to(elsewhere)):
        make(tmp_path / ".draft")
        save(tmp_path, made(3))
        assert plain(read(tmp_path)) == plain(made(3)) and elsewhere.is_dir()
    (tmp_path / "g-99999999").mkdir()
    for after in (4, 5):
        save(tmp_path, made(after))
        assert plain(read(tmp_path)) == plain(made(after)), "numbers may have more digits"


@pytest.mark.parametrize("name", ["state.json", "model.npz"])
def test_a_file_that_the_disk_cannot_read_costs_its_generation(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in (1, 2):
        save(tmp_path, made(after))
    bad, whole = tmp_path / "g-00000002" / name, Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == bad:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    found, (damaged,) = load(tmp_path, job=JOB, job_id=JOB_ID)
    assert found is not None and found.model.after == 1 and "Input/output error" in damaged


def test_a_file_of_another_generation_is_not_taken(tmp_path: Path) -> None:
    for after in (1, 2):
        save(tmp_path, made(after))
    (tmp_path / "g-00000002" / "model.npz").write_bytes((tmp_path / "g-00000001" / "model.npz").read_bytes())
    found, (damaged,) = load(tmp_path, job=JOB, job_id=JOB_ID)
    assert found is not None and found.model.after == 1 and "model.npz was changed" in damaged


@pytest.mark.parametrize(("job", "job_id"), [("b" * 64, JOB_ID), (JOB, "job-2")])
def test_the_checkpoint_of_another_job_is_refused(tmp_path: Path, job: str, job_id: str) -> None:
    save(tmp_path, made(1))
    with pytest.raises(FederationError, match="checkpoint of another job"):
        load(tmp_path, job=job, job_id=job_id)


def test_a_later_format_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "FORMAT", module.FORMAT + 1)
        save(tmp_path, made(1))
    with pytest.raises(FederationError, match=f"of format {module.FORMAT + 1} where {module.FORMAT} was expected"):
        read(tmp_path)
