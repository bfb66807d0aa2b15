"""Send server-sent events: each connected page is notified, at most once a second, that the store has changed.

HTML Living Standard, section 9.2. One task reads the store for all listeners; without listeners it does not read.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool

from fedward.dashboard.store_handle import StoreHandle
from fedward.errors import StoreError

EVERY_S = 1.0
HEARTBEAT_S = 15.0
MOST_STREAMS = 64


class Streams:
    """Open streams of one service.

    Args:
        source: returns the store.
        every_s: seconds between two reads of the store.
        heartbeat_s: seconds without change after which a comment is sent, so that a dead connection is noticed.
    """

    def __init__(self, source: StoreHandle, *, every_s: float = EVERY_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._source, self._every_s, self._heartbeat_s = source, every_s, heartbeat_s
        self._open, self._cursor, self._stopping = 0, 0, False
        self._jobs: dict[str, int] = {}
        self._news = asyncio.Event()

    @property
    def full(self) -> bool:
        """True if the largest number of streams is open."""
        return self._open >= MOST_STREAMS

    async def watch(self) -> None:
        """Read the store until cancelled."""
        while True:
            if self._open:
                await self._look()
            await asyncio.sleep(self._every_s)

    def stop(self) -> None:
        """End every stream, so that the service can end."""
        self._stopping = True
        self._tell()

    async def listen(self, since: int | None) -> AsyncIterator[str]:
        """Yield one stream's text: the changes after ``since``, or from now on if None.

        The id of an event is the store's cursor, which a browser sends back when it connects again.
        """
        self._open += 1
        try:
            if self._open == 1:
                await self._look()
            seen = self._cursor if since is None else since
            yield ": open\n\n"
            spoken = time.monotonic()
            while True:
                news = self._news  # taken before the check below, so that no change is missed
                if self._stopping:
                    return
                if seen != self._cursor:
                    jobs = sorted(job for job, changed in self._jobs.items() if changed > seen or seen > self._cursor)
                    seen, spoken = self._cursor, time.monotonic()
                    yield f"id: {seen}\nevent: change\ndata: {json.dumps({'cursor': seen, 'jobs': jobs})}\n\n"
                elif time.monotonic() - spoken >= self._heartbeat_s:
                    spoken = time.monotonic()
                    yield ": alive\n\n"
                else:
                    await _wait(news, self._heartbeat_s - (time.monotonic() - spoken))
        finally:
            self._open -= 1

    async def _look(self) -> None:
        try:
            cursor, jobs = await run_in_threadpool(self._read)
        except StoreError:
            return  # the page's own request reports the fault
        if cursor != self._cursor:
            self._jobs = {**self._jobs, **jobs} if cursor > self._cursor else jobs
            self._cursor = cursor
            self._tell()

    def _read(self) -> tuple[int, dict[str, int]]:
        store = self._source()
        if store is None:
            return 0, {}
        cursor = store.cursor()
        return cursor, store.changed_since(self._cursor if cursor >= self._cursor else 0)

    def _tell(self) -> None:
        """Wake all waiting streams; a later one waits for the next change."""
        self._news.set()
        self._news = asyncio.Event()


async def _wait(news: asyncio.Event, at_most_s: float) -> None:
    try:
        await asyncio.wait_for(news.wait(), max(at_most_s, 0.0))
    except TimeoutError:
        return
