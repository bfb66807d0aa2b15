"""Recognise this machine's own host names and addresses."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """True if this is a loopback address or the name ``localhost``, which no other machine and no proxy has."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
