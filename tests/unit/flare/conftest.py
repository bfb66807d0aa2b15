"""Hospitals for the tests of the gates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedward.flare.gates import gate
from tests.support.flare.hospital import Hospital

Make = Callable[..., Hospital]


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts with gates that know no job: hospitals and runs of different tests have the same names."""
    monkeypatch.setattr(gate, "_STATES", {})
    monkeypatch.setattr(gate, "_LATCHED", {})
    monkeypatch.setattr(gate, "_UNENDED", set())
    monkeypatch.setattr(gate, "_REFUSED", {})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Hospitals that have received the first round's model."""
    count = iter(range(100))

    def made(privacy: str = "none", *, received: bool = True, **how: Any) -> Hospital:
        hospital = Hospital(tmp_path / str(next(count)), privacy, **how)
        if received:
            hospital.receive()
        return hospital

    return made
