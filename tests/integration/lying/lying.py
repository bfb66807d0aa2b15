"""Components for the kits of a test's federation: a server's door that lets every job through, a site's handlers.

On ``PYTHONPATH`` of the kits' processes, and named in their ``resources.json`` by the test.
"""

from __future__ import annotations

from types import SimpleNamespace

from nvflare.apis.fl_component import FLComponent
from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors

from fedward.flare import transport
from fedward.flare.site_deploy import SITE_PROCESSORS


class LaxDoor(transport.ServerDoor):
    """The server's door as it is, but for what it asks of a job."""

    def __init__(self) -> None:
        transport.job_door = SimpleNamespace(install=lambda: None)  # type: ignore[assignment]
        super().__init__()


class SiteForm(FLComponent):  # type: ignore[misc]
    """Puts Fedward's two handlers in the place of FLARE's."""

    def __init__(self) -> None:
        super().__init__()
        registry = ClientRequestProcessors.request_processors
        for ours in SITE_PROCESSORS:
            (place,) = (at for at, one in enumerate(registry) if one.get_topics() == ours().get_topics())
            registry[place] = ours()
