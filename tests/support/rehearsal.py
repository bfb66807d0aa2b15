"""Tests that play a whole page of the documents, for minutes: ``make rehearse`` runs them, ``make test`` does not."""

from __future__ import annotations

import os

import pytest

REHEARSES = "FEDWARD_REHEARSE"


def rehearsal(what: str) -> pytest.MarkDecorator:
    """Skip with a note on what ``make rehearse`` does here, unless ``make rehearse`` runs."""
    return pytest.mark.skipif(os.environ.get(REHEARSES) != "1", reason=f"slow: `make rehearse` {what}")
