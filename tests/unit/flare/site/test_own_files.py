"""Files for the hospital's eyes alone end no task where the disk does not take them; its log says so, once."""

from __future__ import annotations

import errno
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fedward.errors import DiskFullError
from fedward.flare.protocol import Task, to_reply
from fedward.flare.refusal import Code, code_of
from fedward.flare.site import own_files
from fedward.flare.site.own_files import FINAL_FILE, OwnFiles
from fedward.privacy.ledger import chain_store
from tests.unit.flare.site.conftest import MakeSite
from tests.unit.flare.site.test_started_again import FEDBN


def full(*args: Any, **named: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_cannot_be_written_is_said_once_until_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = OwnFiles(tmp_path, kept=tmp_path / "kept")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with monkeypatch.context() as patch:
                for name in ("write_examples", "save_weights"):
                    patch.setattr(own_files, name, full)
                patch.setattr(own_files.EventLog, "append", full)
                for _ in range(3):
                    own.event("alone", scores={})
                    own.examples(())
                    own.model({}, FINAL_FILE)
            own.event("alone", scores={})
            own.model({}, FINAL_FILE)
    assert caplog.text.count("not written at the moment, events: No space left") == 2
    assert caplog.text.count(FINAL_FILE) == 2 and caplog.text.count("pictures") == 1
    assert (tmp_path / FINAL_FILE).is_file()


def test_an_error_that_is_not_the_disks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        OwnFiles(tmp_path, kept=tmp_path).event("dance")


@pytest.mark.parametrize("changes", [{}, FEDBN], ids=["plain", "keeps"])
def test_each_task_is_answered_though_the_run_folder_takes_nothing(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    site = make_site(changes=changes)
    job = site.start()
    site.ask(job, Task.ADMIT)
    with monkeypatch.context() as patch:
        for name in ("write_examples", "save_weights"):
            patch.setattr(own_files, name, full)
        patch.setattr(own_files.EventLog, "append", full)
        patch.setattr("fedward.training.kept_state.write_atomic", full)
        assert to_reply(site.ask(job, Task.ROUND, number=0)).update is not None
        assert to_reply(site.ask(job, Task.ROUND, number=1)).update is not None
        for task in (Task.VALIDATE, Task.FINAL, Task.ALONE):
            assert "scores" in to_reply(site.ask(job, task)).metrics
    assert not list((site.hospital.folder / "kit").glob("**/*.state"))


def test_a_job_that_could_not_be_charged_is_charged_when_there_is_room(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same object goes on: it holds nothing of the attempt."""
    site = make_site("dp-sgd")
    job = site.start()
    connect, turns = chain_store._connect, [0]
    for at in range(1, 60):
        turns[0] = 0

        def guarded(*args: Any, at: int = at, **named: Any) -> Any:
            turns[0] += 1
            if turns[0] >= at:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return connect(*args, **named)

        with monkeypatch.context() as patch:
            patch.setattr(chain_store, "_connect", guarded)
            try:
                site.ask(job, Task.ADMIT)
                break
            except DiskFullError as refused:
                assert code_of(refused) is Code.DISK_FULL
    else:
        pytest.fail("more turns than expected")
    assert at > 3 and site.kinds.count("charge") == 1
    assert to_reply(site.ask(job, Task.ROUND, number=0)).update is not None
