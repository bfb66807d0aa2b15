"""Keep the sums of a job with noise for the sum, and send each hospital those that it has not had.

A hospital makes the model from the sums of all rounds, so one that missed a round needs its sum before it can go on.
The server cannot read the sums; it keeps them in the checkpoint folder, up to ``LARGEST``, the oldest first to go. A
hospital that needs one that is gone refuses the round.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from fedward.files import write_atomic
from fedward.flare.protocol import Model, Reply
from fedward.flare.secagg_context import AFTER_ROUNDS
from fedward.settings import JobSpec

FOLDER = "sums"
LARGEST = 2**31
"""Bytes of all sums that are kept: 2 GiB."""
LARGEST_MESSAGE = 2**28
"""Bytes of the sums that are sent to a hospital at once, beside the round's own; one of them may be larger."""
_NAME = re.compile(r"(\d{6})-([0-9a-f]{64})\.sealed")


class MissedSums:
    """Sums of one job's rounds, and how many of them each hospital has.

    Args:
        job: the job; in one without noise for the sum nothing is kept or sent.
        folder: checkpoint folder of the job.
    """

    def __init__(self, job: JobSpec, folder: Path) -> None:
        self._needed, self._folder = job.noises_sum, folder / FOLDER
        self._has: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        """Hospital that lacks more sums than one message holds -> number of the next to send."""

    def keep(self, model: Model) -> None:
        """Write the sum of a round durably.

        Raises:
            OSError: the disk does not accept it.
        """
        if not self._needed or model.sealed is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{model.after - 1:06d}-{hashlib.sha256(model.sealed).hexdigest()}.sealed"
        write_atomic(self._folder / name, model.sealed, mode=0o600)
        files = self._files()
        size = sum(path.stat().st_size for path in files.values())
        for number in sorted(files):
            if size <= LARGEST:
                break
            size -= files[number].stat().st_size
            files[number].unlink(missing_ok=True)

    def admitted(self, replies: Mapping[str, Reply]) -> None:
        """Take from hospitals that admit the job how many rounds' sums they have."""
        for site, reply in replies.items():
            found = (reply.sealed or {}).get(AFTER_ROUNDS)
            self._has[site] = found if type(found) is int and found >= 0 else 0

    def answered(self, model: Model, sites: Iterable[str]) -> None:
        """Note that hospitals made this model."""
        for site in sites:
            self._has[site] = max(self._has.get(site, 0), model.after)

    def for_sites(self, model: Model, sites: Iterable[str]) -> Model | dict[str, Model]:
        """Return the model as it is sent: to each hospital with the sums that it has not had, if any lacks one."""
        if not self._needed or model.sealed is None:
            return model
        behind = {site: self._has.get(site, 0) for site in sites if self._has.get(site, 0) < model.after - 1}
        if not behind:
            return model
        return {site: replace(model, earlier=self._next(site, model.after - 1)) for site in sites}

    def _next(self, site: str, end: int) -> tuple[bytes, ...]:
        """Return the next sums before round ``end`` that a hospital lacks: the oldest, as many as a message holds.

        A hospital keeps what it gets, and refuses the round until it has had all of them. Once the last was sent, and
        the hospital still lacks some, it is sent all of them again.
        """
        has = self._has.get(site, 0)
        start = max(has, self._sent.get(site, 0))
        start, found, size = (has if start >= end else start), list[bytes](), 0
        for number in range(start, end):
            content = self._read(number)
            size += len(content)
            if not content or (found and size > LARGEST_MESSAGE):
                break
            found.append(content)
        self._sent[site] = start + len(found)
        return tuple(found)

    def _read(self, number: int) -> bytes:
        """Return the sum of a round; empty where it is gone or damaged."""
        path = self._files().get(number)
        try:
            content = b"" if path is None else path.read_bytes()
        except OSError:
            return b""
        return content if path is not None and path.name[7:71] == hashlib.sha256(content).hexdigest() else b""

    def _files(self) -> dict[int, Path]:
        matches = ((_NAME.fullmatch(path.name), path) for path in self._folder.glob("*.sealed"))
        return {int(match[1]): path for match, path in matches if match is not None}
