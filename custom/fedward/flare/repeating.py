"""Repeat a step in the background until the process ends."""

from __future__ import annotations

import threading
from collections.abc import Callable


def repeat(step: Callable[[], None], *, every_s: float, name: str, log: Callable[[str], None]) -> None:
    """Repeat a step in a separate thread that ends with the process; continue after a step that raises an error.

    Args:
        step: function to call.
        every_s: seconds between the end of one call and the beginning of the next.
        name: name of the thread, and of the step in the log.
        log: function that writes one line to the log.
    """

    def forever() -> None:
        rest = threading.Event()
        while not rest.wait(every_s):
            try:
                step()
            except Exception as error:  # noqa: BLE001 - the thread must survive any error
                log(f"{name}: {type(error).__name__}, trying again")

    threading.Thread(target=forever, name=f"fedward {name}", daemon=True).start()
