"""Admit or refuse requests: on loopback any user of this machine; elsewhere only holders of the token, over TLS.

On loopback a page of another origin could reach the service through a name that it resolves to 127.0.0.1 (DNS
rebinding), so the Host header must name loopback. Elsewhere every request but ``/healthz`` and the sign-in page needs
``Authorization: Bearer <token>`` (RFC 6750, section 2.1) or the cookie that the sign-in page sets. The cookie is an
expiry time and its HMAC-SHA256 under the token: the server keeps no session, and a new token ends all sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fedward.errors import SettingsError
from fedward.hosts import is_loopback

COOKIE = "__Host-fedward"
SIGN_IN = "/login"
OPEN_PATHS = frozenset({"/healthz", SIGN_IN, "/static/login.js", "/static/login.css"})
SESSION_S = 12 * 3600
LEAST_TOKEN = 32
LARGEST_BODY = 4096
MOST_FAILURES, WITHIN_S = 10, 60.0
_MOST_ADDRESSES = 1024
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def read_token(path: Path) -> bytes:
    """Read the token from a file that only its owner can read.

    Raises:
        SettingsError: the file is missing, others can read it, or the token is short or not printable ASCII.
    """
    remedy = f"make it with `(umask 077; openssl rand -hex 32 > {path})`"
    try:
        open_to_others = path.stat().st_mode & 0o077
        token = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError("token cannot be read", where=path, value=error.strerror, remedy=remedy) from None
    if open_to_others:
        raise SettingsError("others than its owner can read the token", where=path, remedy="chmod 600, or a new one")
    if len(token) < LEAST_TOKEN or not all(33 <= letter <= 126 for letter in token):
        raise SettingsError(f"token is not one word of at least {LEAST_TOKEN} letters", where=path, remedy=remedy)
    return token


def require_safe(host: str, *, token_file: Path | None, certificate: Path | None, key: Path | None) -> bytes | None:
    """Return the token to require at ``host``, or None on loopback without one.

    Raises:
        SettingsError: an address other than loopback without token, certificate and key; one of them without the
            others; or one that cannot be read.
    """
    given = [one for one in (token_file, certificate, key) if one is not None]
    if not given and is_loopback(host):
        return None
    if token_file is None or certificate is None or key is None:
        what = "a token goes over TLS alone" if given else "reachable from other machines without a token over TLS"
        raise SettingsError(
            what, where="--host", value=host, remedy="give --token-file, --certificate and --key, or stay on 127.0.0.1"
        )
    for file in (certificate, key):
        if not file.is_file():
            raise SettingsError("no such file", where=file, remedy="give certificate and key as PEM files")
    return read_token(token_file)


class Failures:
    """Count of wrong tokens by address: after MOST_FAILURES of them within WITHIN_S the address must wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def blocked(self, address: str) -> bool:
        """True if this address must wait."""
        times = self._of.get(address, deque())
        while times and self._clock() - times[0] > WITHIN_S:
            times.popleft()
        return len(times) >= MOST_FAILURES

    def add(self, address: str) -> None:
        """Count a wrong token."""
        self._of.setdefault(address, deque(maxlen=MOST_FAILURES)).append(self._clock())
        self._of.move_to_end(address)
        while len(self._of) > _MOST_ADDRESSES:
            self._of.popitem(last=False)


class Access:
    """Gate in front of ``app``: it passes allowed requests and refuses all others.

    Args:
        app: application behind the gate.
        token: required of every request; None requires a loopback Host header instead.
    """

    def __init__(self, app: ASGIApp, *, token: bytes | None) -> None:
        self._app, self._token, self._failures = app, token, Failures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refused = self._refused(HTTPConnection(scope)) if scope["type"] == "http" else Response(status_code=404)
        if refused is None and self._token is not None and scope["path"] == SIGN_IN and scope["method"] == "POST":
            refused = await self._sign_in(Request(scope, receive), self._token)
        await (self._app if refused is None else refused)(scope, receive, send)

    def _refused(self, asked: HTTPConnection) -> Response | None:
        if self._token is None:
            named = _without_port(asked.headers.get("host", ""))
            return None if named in _LOOPBACK_NAMES else _error(421, "this address serves loopback names alone")
        if asked.url.path in OPEN_PATHS or signed_in(asked.cookies.get(COOKIE, ""), self._token, now=time.time()):
            return None
        presented = _bearer(asked.headers)
        if presented is not None:
            return self._wrong(asked, presented, self._token)
        if asked.url.path == "/":
            return RedirectResponse(SIGN_IN, status_code=303)
        return _error(401, "sign in, or send the token as Authorization: Bearer", {"WWW-Authenticate": "Bearer"})

    def _wrong(self, asked: HTTPConnection, presented: bytes, token: bytes) -> Response | None:
        """Return None for the right token; after too many wrong ones an address's token is not even compared."""
        address = "" if asked.client is None else asked.client.host
        if self._failures.blocked(address):
            return _error(429, "too many wrong tokens; wait a minute", {"Retry-After": str(int(WITHIN_S))})
        if hmac.compare_digest(presented, token):
            return None
        self._failures.add(address)
        return _error(401, "wrong token", {"WWW-Authenticate": 'Bearer error="invalid_token"'})

    async def _sign_in(self, asked: Request, token: bytes) -> Response:
        """Set the cookie for a request whose body is the token."""
        presented = b""
        async for piece in asked.stream():
            presented += piece
            if len(presented) > LARGEST_BODY:
                return _error(413, "that is no token")
        refused = self._wrong(asked, presented.strip(), token)
        if refused is not None:
            return refused
        answer = Response(status_code=204)
        answer.set_cookie(
            COOKIE,
            session(token, until=int(time.time()) + SESSION_S),
            max_age=SESSION_S,
            path="/",
            secure=True,
            httponly=True,
            samesite="strict",
        )
        return answer


def session(token: bytes, *, until: int) -> str:
    """Return a cookie's value that is valid until ``until``, in seconds since the epoch."""
    return f"{until}.{hmac.new(token, f'fedward dashboard 1 {until}'.encode(), hashlib.sha256).hexdigest()}"


def signed_in(cookie: str, token: bytes, *, now: float) -> bool:
    """True if ``session`` made this cookie's value with this token and it is still valid."""
    until = cookie.partition(".")[0]
    if not (until.isascii() and until.isdigit() and len(until) < 16) or now > int(until):
        return False
    return hmac.compare_digest(cookie.encode(), session(token, until=int(until)).encode())


def _bearer(headers: Headers) -> bytes | None:
    scheme, _, presented = headers.get("authorization", "").partition(" ")
    return presented.strip().encode() if scheme.lower() == "bearer" else None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _error(status: int, line: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": line}, status_code=status, headers=headers)
