"""Parse ``--split SITE=PARTS``, an option of several commands."""

from __future__ import annotations

from fedward.errors import SettingsError


def split_of(text: str) -> tuple[str, int]:
    """Split ``"shenzhen-cn=2"`` into site and number of parts.

    Raises:
        SettingsError: the text has another form.
    """
    site, _, parts = text.partition("=")
    if not site or not (parts.isascii() and parts.isdigit()):
        raise SettingsError("split is not SITE=PARTS", value=text, remedy="for example --split shenzhen-cn=2")
    return site, int(parts)
