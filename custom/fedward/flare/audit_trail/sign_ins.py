"""Record the sites that signed in and out at the server, from looks at FLARE's list of clients."""

from __future__ import annotations

from collections.abc import Mapping

from fedward.flare.audit_trail.notes import note_here


class SignIns:
    """The sites of the last look. FLARE gives a site a new token at each sign-in."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def seen(self, names: Mapping[str, str]) -> None:
        """Record what changed since the last look; ``names``: token -> name in the site's certificate."""
        before, self._known = self._known, dict(names)
        for token in sorted(before.keys() - names.keys(), key=lambda one: before[one]):
            note_here("signed-out", who=before[token])
        for token in sorted(names.keys() - before.keys(), key=lambda one: names[one]):
            note_here("signed-in", who=names[token])
