"""Clock of the server's rounds: what time it is, and how to let some pass. Simulations give another."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Clock in monotonic seconds.

    Attributes:
        now: returns the seconds; they never go back.
        sleep: lets at least so many seconds pass.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
