"""Tell whether the body of an HTTP response with several parts came to its end."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from typing import Any

import requests

_TAIL = 4096
"""Bytes at the end of a body in which its closing boundary stands; an epilogue may follow it (RFC 2046 5.1.1)."""


class Body:
    """End of a response's body, as it is read.

    Args:
        response: response whose ``iter_content`` is read by someone else.
    """

    def __init__(self, response: requests.Response | None = None) -> None:
        self._partial, self._closing, self._tail = False, b"", b""
        if response is None:
            return
        header = Message()
        header["Content-Type"] = response.headers.get("Content-Type", "")
        boundary = header.get_param("boundary")
        self._partial = response.status_code == 206
        self._closing = f"--{boundary}--".encode() if isinstance(boundary, str) else b""
        read = response.iter_content

        def watched(*given: Any, **named: Any) -> Iterator[Any]:
            for chunk in read(*given, **named):
                self._tail = (self._tail + chunk)[-_TAIL:]
                yield chunk

        response.iter_content = watched  # type: ignore[method-assign]

    @property
    def partial(self) -> bool:
        """True if the archive says that it sent a part (206), or if the body ended without its closing boundary."""
        return self._partial or self._closing not in self._tail
