"""A step that is done again and again beside everything else, for as long as the process lives."""

from __future__ import annotations

import threading
from collections.abc import Callable


def repeat(step: Callable[[], None], *, every_s: float, name: str, log: Callable[[str], None]) -> None:
    """Do a step in a thread of its own that ends with the process; one that throws is done again like any other.

    Args:
        step: what is done.
        every_s: seconds between the end of one and the beginning of the next.
        name: of the thread, and of the step in the log.
        log: for the log.
    """

    def forever() -> None:
        rest = threading.Event()
        while not rest.wait(every_s):
            try:
                step()
            except Exception as error:  # noqa: BLE001 - it must outlive whatever is thrown at it
                log(f"{name}: {type(error).__name__}, trying again")

    threading.Thread(target=forever, name=f"fedward {name}", daemon=True).start()
