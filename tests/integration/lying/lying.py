"""Replace the job check in the server's kit of a test's federation: every job passes.

On ``PYTHONPATH`` of the kits' processes, and named in the server's ``resources.json`` by the test.
"""

from __future__ import annotations

from types import SimpleNamespace

from fedward.flare.listener import server_door


class LaxDoor(server_door.ServerDoor):
    """The server's component as it is, except that it accepts every job."""

    def __init__(self) -> None:
        server_door.job_door = SimpleNamespace(install=lambda: None)  # type: ignore[assignment]
        super().__init__()
