"""Give drawn inputs to one reader, and count what comes back; run as a process of its own, so that no input harms more.

Each module of targets calls ``main``: ``python -m tests.fuzz.settings job COUNT SEED FOLDER`` prints one line of JSON.
Whatever else reaches its output is a fault: a traceback, a warning, a line that a library writes.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from fedward.errors import FedwardError
from tests.fuzz.mutations import MARK, Edit, inputs, line, token

LONGEST = 5000
"""Characters of an error."""
PATIENCE_S, SLEEP_S = 3.0, 60.0
"""Of the processor, and of the clock, for one input: the machine may be busy, and a reader may wait for ever."""
MEMORY_BYTES = 1 << 30
"""That one input may take beyond the process's start."""
_SHOWN = 12


class Hang(BaseException):
    """An input took longer than ``PATIENCE_S``; no handler of ``Exception`` takes it for a fault of the input."""


@dataclass(frozen=True)
class Target:
    """A format and its reader.

    Attributes:
        corpus: valid examples.
        read: gives one input to the public functions; returns anything, or raises ``FedwardError``.
        edits: mutations of the format's own structure.
        private: texts of the examples that no error may hold.
        facts: counts that ``read`` keeps, to be printed too.
    """

    corpus: Sequence[bytes]
    read: Callable[[bytes], Any]
    edits: Sequence[Edit] = (token, token, token, line)
    private: tuple[str, ...] = (MARK,)
    facts: Counter[str] = field(default_factory=Counter)


def fuzz(target: Target, *, count: int, seed: int, keep: Path | None = None) -> dict[str, Any]:
    """Return how many inputs were accepted and refused, and each kind of fault with the number of its first input."""
    accepted, refused, faults = 0, 0, Counter[str]()
    first: dict[str, int] = {}
    for number, content in enumerate(islice(inputs(seed, target.corpus, edits=target.edits), count)):
        fault = None
        try:
            with time_limit():
                target.read(content)
            accepted += 1
        except FedwardError as error:
            refused += 1
            fault = ill_told(error, target.private)
        except (Exception, Hang) as error:  # noqa: BLE001 - each of them is a finding
            fault = place_of(error)
        if fault is not None:
            faults[fault] += 1
            if first.setdefault(fault, number) == number and keep is not None:
                (keep / f"{number:06d}").write_bytes(content)
    worst = {f"{kind} (first: input {first[kind]})": times for kind, times in faults.most_common(_SHOWN)}
    return {"given": count, "accepted": accepted, "refused": refused, "faults": worst, **target.facts}


@contextmanager
def time_limit() -> Iterator[None]:
    """Interrupt Python code after ``PATIENCE_S``; code in C that never returns is ended with the process."""
    rearm()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def rearm() -> None:
    """Begin the time of an input, or of one part of it, anew."""
    signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)
    signal.setitimer(signal.ITIMER_REAL, SLEEP_S)


def ill_told(error: BaseException, private: Sequence[str]) -> str | None:
    """Return the fault of an error's text: one printable line of bounded length, without the private texts."""
    text = str(error)
    if not text or not text.isprintable():
        return f"{type(error).__name__} of other than one printable line: {text[:80]!r}"
    if len(text) > LONGEST:
        return f"{type(error).__name__} of {len(text) // 1000} thousand characters: {text[:80]!r}"
    chain = [
        text,
        *(str(one) for one in (error.__cause__, error.__context__) if one and not error.__suppress_context__),
    ]
    if any(word in one for word in private for one in chain):
        return f"{type(error).__name__} tells a private text, {type(error.__context__).__name__}"
    return None


def place_of(error: BaseException) -> str:
    """Return the class of an unexpected error, and the last places of this package that it went through."""
    frames = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    own = [
        f for f, one in zip(frames, traceback.extract_tb(error.__traceback__), strict=True) if "fedward" in one.filename
    ]
    return f"{type(error).__name__} at {' < '.join(own[:-4:-1]) or frames[-1]}: {str(error)[:80]!r}"


def _limit() -> None:
    def hang(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, hang)
    signal.signal(signal.SIGPROF, hang)
    faulthandler.enable()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, resource.RLIM_INFINITY))
    warnings.simplefilter("error")
    logging.lastResort = None


def main(targets: Mapping[str, Callable[[Path], Target]]) -> None:
    """Fuzz the target that the command line names."""
    name, count, seed, folder = sys.argv[1:]
    target = targets[name](Path(folder))
    _limit()
    print(json.dumps(fuzz(target, count=int(count), seed=int(seed), keep=Path(folder))))
