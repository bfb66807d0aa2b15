"""Fedward's command line as a person types it."""

from __future__ import annotations

import sys

import pytest

from fedward import cli


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of ``fedward <words>``."""
    monkeypatch.setattr(sys, "argv", ["fedward", *words])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
