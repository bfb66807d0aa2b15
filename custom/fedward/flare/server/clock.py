"""Clock of the server's rounds: what time it is, and how to let some pass. Simulations give another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Clock in monotonic seconds.

    Attributes:
        now: returns the seconds; they never go back.
        sleep: lets at least so many seconds pass.
        wait: lets so many seconds pass, or fewer once the event is set.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    wait: Callable[[threading.Event, float], object] = threading.Event.wait
