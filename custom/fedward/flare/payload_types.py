"""The closed list of classes that a payload may hold: FLARE's serializer (FOBS) builds no object of any other.

FOBS packs an object as the name of its class and the name of the class that rebuilds it. FLARE 2.9 rebuilds every class
that any imported module has registered; what an ordinary job, console and site send needs a dozen. The list was made by
recording them (``tests/integration/test_message_lists.py`` holds it to a running federation).
"""

from __future__ import annotations

from typing import Any

from nvflare.fuel.utils.fobs import fobs

TYPES = frozenset(
    {
        "nvflare.apis.client.Client",
        "nvflare.apis.dxo.DXO",
        "nvflare.apis.dxo.DataKind",
        "nvflare.apis.fl_context.FLContext",
        "nvflare.apis.job_def.JobMetaKey",
        "nvflare.apis.shareable.Shareable",
        "nvflare.private.admin_defs.Message",
        "nvflare.private.fed.server.run_info.RunInfo",
        "numpy.ndarray",
        "tuple",
    }
)


def install() -> None:
    """Hold every object that this process unpacks against the list, from now on."""
    unpack = fobs.Packer.unpack

    def listed(self: Any, obj: Any) -> Any:
        if type(obj) is dict and fobs.FOBS_TYPE in obj and obj[fobs.FOBS_TYPE] not in TYPES:
            raise ValueError("a payload holds an object of a class that no message has")
        return unpack(self, obj)

    fobs.Packer.unpack = listed
