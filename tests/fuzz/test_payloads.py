"""Messages that a server or a hospital may send: a gate passes its own message or one line, and the server reads on."""

from __future__ import annotations

import numpy as np
import pytest
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

from fedward.flare.protocol import refusal
from tests.fuzz.started import fuzzed


@pytest.mark.slow
def test_five_thousand_messages_pass_a_gate_or_are_refused_in_one_line() -> None:
    fuzzed("flare", "gates")


@pytest.mark.slow
def test_five_thousand_payloads_are_unpacked_or_refused() -> None:
    fuzzed("flare", "payload", expects=10)


@pytest.mark.parametrize("headers", [None, True, "x", [], 7])
def test_an_answer_without_a_table_of_headers_is_a_refusal(headers: object) -> None:
    message = Shareable()
    message[ReservedHeaderKey.HEADERS] = headers
    assert refusal(message) == "site answered with headers that are no table"


@pytest.mark.parametrize("code", [None, 3, np.zeros(2), [], "\x1b[2J"])
def test_an_answer_with_a_code_that_is_none_is_a_refusal_of_one_line(code: object) -> None:
    message = Shareable()
    message[ReservedHeaderKey.HEADERS] = {ReservedHeaderKey.RC: code}
    said = refusal(message)
    assert said is not None and said.isprintable()
