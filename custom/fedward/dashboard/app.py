"""Define the service's addresses: the page, its files, its data, ``/metrics`` and ``/healthz``.

Every read of the store runs in a thread, so that a long one delays no other answer.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from fedward.dashboard import api
from fedward.dashboard.access import SIGN_IN, Access
from fedward.dashboard.headers import SafeHeaders
from fedward.dashboard.store_handle import StoreHandle
from fedward.dashboard.stream import Streams
from fedward.errors import StoreError
from fedward.metrics.exporter import StoreCollector, exposition
from fedward.metrics.store import Store

STATIC = Path(__file__).with_name("static")
_READERS = 4
_UPKEEP_EVERY_S = 3600.0


def create_app(
    source: StoreHandle, streams: Streams, *, token: bytes | None, keep_days: float | None = None
) -> Starlette:
    """Build the service as an ASGI application.

    Args:
        source: returns the store.
        streams: streams of this service; the caller stops them before the service ends.
        token: required of every request; None on loopback, where the Host header is checked instead.
        keep_days: delete jobs whose last event is older, once an hour; None keeps them.
    """
    served = _Service(source, streams)
    routes = [
        Route("/", served.page),
        Route(SIGN_IN, served.sign_in_page),
        Route("/healthz", served.health),
        Route("/metrics", served.metrics),
        Route("/api/federation", served.federation),
        Route("/api/jobs/{id}", served.job),
        Route("/api/sites/{site}", served.site),
        Route("/api/stream", served.stream),
        Mount("/static", _Files(directory=STATIC, check_dir=False)),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = _READERS
        tasks = [asyncio.create_task(streams.watch())]
        if keep_days is not None:
            tasks.append(asyncio.create_task(_upkeep(source, keep_days)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            source.close()

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(SafeHeaders), Middleware(Access, token=token)],
        exception_handlers={StoreError: _store_fails, 404: _not_found},
    )


class _Service:
    """Answers at each address; a plain function runs in a thread."""

    def __init__(self, source: StoreHandle, streams: Streams) -> None:
        self._source, self._streams = source, streams
        self._collector = StoreCollector(source)

    def page(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    def sign_in_page(self, _: Request) -> Response:
        return FileResponse(STATIC / "login.html", headers={"Cache-Control": "no-cache"})

    def health(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    def metrics(self, _: Request) -> Response:
        return Response(exposition(self._collector), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    def federation(self, _: Request) -> Response:
        return _json(api.federation(self._source(), now=_now()))

    def job(self, asked: Request) -> Response:
        found = api.one_job(self._source(), asked.path_params["id"], now=_now())
        return _json({"error": "no job of that id"}, 404) if found is None else _json(found)

    def site(self, asked: Request) -> Response:
        found = api.one_site(self._source(), asked.path_params["site"], now=_now())
        return _json({"error": "no site of that name"}, 404) if found is None else _json(found)

    async def stream(self, asked: Request) -> Response:
        if self._streams.full:
            return _json({"error": "as many pages as may are already following"}, 503)
        last = asked.headers.get("last-event-id", "")
        since = int(last) if last.isascii() and last.isdigit() else None
        return StreamingResponse(self._streams.listen(since), media_type="text/event-stream")


class _Files(StaticFiles):
    """The page's files; a browser checks each time that its copy is current, so that an update shows at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def _json(content: dict[str, Any], status: int = 200) -> Response:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Response(text, status_code=status, media_type="application/json")


def _now() -> float:
    return round(time.time(), 3)


def _store_fails(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 503)


def _not_found(_: Request, __: Exception) -> Response:
    return _json({"error": "nothing at this address"}, 404)


async def _upkeep(source: StoreHandle, keep_days: float) -> None:
    def forget() -> None:
        store: Store | None = source()
        if store is not None:
            store.forget(older_than_days=keep_days)

    while True:
        with suppress(StoreError):  # a store in use; try again in an hour
            await run_in_threadpool(forget)
        await asyncio.sleep(_UPKEEP_EVERY_S)
