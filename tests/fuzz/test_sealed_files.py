"""Key files, sealed boxes and sealed messages that anyone may have written: what is not whole does not open."""

from __future__ import annotations

import pytest

from tests.fuzz.started import fuzzed


@pytest.mark.parametrize("name", ["key_file", "box", "message"])
def test_five_thousand_are_opened_or_refused(name: str) -> None:
    fuzzed("sealed", name, expects=10)
