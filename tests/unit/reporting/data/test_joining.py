"""The first line says whether joining paid, and whether hospitals would do better alone without noise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fedward.reporting.data.joining import joining


def report(privacy: str, *sites: tuple[float | None, float | None, float | None]) -> Any:
    """A report with these values of each site: federated, alone at the same ε, alone without noise."""
    value = lambda number: SimpleNamespace(value=number)  # noqa: E731
    return SimpleNamespace(
        privacy=privacy,
        pooled=value(None),
        pooled_private=value(None),
        centralised_pooled=value(None),
        sites=[
            SimpleNamespace(
                site=f"site-{number}",
                federated=value(together),
                private_alone=value(private),
                local_only=value(own),
            )
            for number, (together, private, own) in enumerate(sites)
        ],
    )


@pytest.mark.parametrize(
    ("sites", "paid", "ends"),
    [
        ([(0.9, 0.7, 0.8), (0.9, 0.6, 0.85)], True, "0.200 to 0.300 above alone at the same ε."),
        (
            [(0.9, 0.7, 0.95), (0.9, 0.6, 0.85)],
            True,
            "above alone at the same ε; alone without noise, 1 of 2 would do better for themselves.",
        ),
        ([(0.9, 0.7, None), (0.9, 0.6, None)], True, "above alone at the same ε."),
        ([(0.9, 0.95, 0.99)], False, "site-0 (0.950 against 0.900) did as well or better."),
    ],
)
def test_private(sites: Any, paid: bool, ends: str) -> None:
    found = joining(report("dp-sgd", *sites))
    assert found is not None and found.paid is paid and found.words.endswith(ends), found


def test_without_privacy_alone_is_the_comparison() -> None:
    found = joining(report("none", (0.9, None, 0.8)))
    assert found is not None and found.paid and "noise" not in found.words
    assert joining(report("none", (0.9, None, None))) is None
