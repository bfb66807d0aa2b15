"""Values written as TOML, read back by Python's own reader."""

from __future__ import annotations

import random
import tomllib
from typing import Any

import pytest

from fedward.toml_text import toml_value

SIGNS = "aé\"'\\\n\t\x00\x1b\x7f\u2028😀 =#[]{},.$@"


def drawn(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.choice(["text", "whole", "real", "flag", *(["list", "table"] if depth < 3 else [])])
    if kind == "list":
        return [drawn(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == "table":
        return {text(chance): drawn(chance, depth + 1) for _ in range(chance.randrange(4))}
    plain = {
        "text": text(chance),
        "whole": chance.randrange(-(10**6), 10**6),
        "real": chance.uniform(-1, 1) * 10.0 ** chance.randrange(-300, 300),
        "flag": chance.random() < 0.5,
    }
    return plain[kind]


def text(chance: random.Random) -> str:
    return "".join(chance.choice(SIGNS) for _ in range(chance.randrange(8)))


def test_any_value_is_read_back_as_it_was() -> None:
    chance = random.Random(19)
    for _ in range(2000):
        value = drawn(chance)
        written = toml_value(value)
        assert "\n" not in written
        assert tomllib.loads(f"value = {written}") == {"value": value}


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), object(), {1: 2}, [None]])
def test_what_toml_does_not_have_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="TOML has no such value"):
        toml_value(value)
