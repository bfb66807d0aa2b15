"""Restrict payloads to a closed list of classes: FLARE's serializer (FOBS) builds no object of any other class.

FOBS packs an object as the name of its class and the name of its decomposer, the class that rebuilds it. FLARE 2.9
rebuilds every class that any imported module has registered. For the life of the process it keeps the decomposer that
the first sender of a class named. It writes data that a sender marks as a file to a folder that the whole machine
shares, requests a large array from any cell that a sender names, and unpacks a compressed archive of arrays of any
size. The messages of an ordinary job, console and site need a dozen classes, each with its own decomposer, no file, and
uncompressed arrays that their sender holds. The list was made by recording these messages.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any, NoReturn

from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer
from nvflare.app_common.np.np_downloader import ArrayConsumer
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.utils.fobs import FOBSContextKey, fobs, lobs

_FOBS = "nvflare.fuel.utils.fobs"
_DATA_CLASS, _ENUM = f"{_FOBS}.decomposer.DataClassDecomposer", f"{_FOBS}.decomposer.EnumTypeDecomposer"
_FLARE = "nvflare.apis.utils.decomposers.flare_decomposers"
REFERENCE = f"{_FOBS}.datum.DatumRef"
"""Class of a reference to bytes or a string of 10 MB and more, which follow the rest of the payload."""

TYPES: Mapping[str, str] = {
    "numpy.ndarray": "nvflare.app_common.decomposers.numpy_decomposers.NumpyArrayDecomposer",
    "nvflare.apis.client.Client": _DATA_CLASS,
    "nvflare.apis.dxo.DXO": f"{_FLARE}.DXODecomposer",
    "nvflare.apis.dxo.DataKind": _ENUM,
    "nvflare.apis.fl_context.FLContext": f"{_FLARE}.ContextDecomposer",
    "nvflare.apis.job_def.JobMetaKey": _ENUM,
    "nvflare.apis.shareable.Shareable": f"{_FOBS}.decomposer.DictDecomposer",
    REFERENCE: _DATA_CLASS,
    "nvflare.private.admin_defs.Message": _DATA_CLASS,
    "nvflare.private.fed.server.run_info.RunInfo": _DATA_CLASS,
    "tuple": f"{_FOBS}.decomposers.core_decomposers.TupleDecomposer",
}
"""Class -> its decomposer, the class that rebuilds it."""
_NPY = b"\x93NUMPY"


def install() -> None:
    """Check every object that this process unpacks against the list, from now on."""
    unpack, handler_of = fobs.Packer.unpack, lobs.get_dot_handler
    arrays, array = ArrayConsumer._to_dict, NumpyArrayDecomposer.native_recompose
    download = NumpyArrayDecomposer._download_from_remote_cell

    def listed(self: Any, obj: Any) -> Any:
        if type(obj) is dict and fobs.FOBS_TYPE in obj:
            named = obj[fobs.FOBS_TYPE]
            if type(named) is not str or TYPES.get(named) != obj.get(fobs.FOBS_DECOMPOSER):
                raise ValueError("a payload holds an object of a class that no message has")
        return unpack(self, obj)

    def no_file() -> NoReturn:
        raise ValueError("a payload holds a file, and no message has one")

    def handler(kind: int) -> Any:
        found = handler_of(kind)
        if type(found) is not NumpyArrayDecomposer:
            raise ValueError("a payload refers to something else than an array")
        return found

    def from_its_sender(self: Any, context: dict[str, Any], reference: Any) -> Any:
        message = context.get(FOBSContextKey.MESSAGE)
        sender = None if message is None else message.get_header(MessageHeaderKey.ORIGIN)
        if type(reference) is not dict or type(sender) is not str or reference.get("fqcn") != sender:
            raise ValueError("a payload refers to an array that is not at its sender's")
        return download(self, context, reference)

    def stored(item: bytes) -> dict[str, Any]:
        require_stored(item)
        return arrays(item)  # type: ignore[no-any-return]

    def one(self: Any, data: bytes, manager: Any = None) -> Any:
        if bytes(data[: len(_NPY)]) != _NPY:
            raise ValueError("a payload holds an array in another form than numpy's")
        return array(self, data, manager)

    fobs.Packer.unpack = listed
    lobs.get_datum_dir, lobs.get_dot_handler = no_file, handler
    ArrayConsumer._to_dict = staticmethod(stored)
    NumpyArrayDecomposer.native_recompose = one
    NumpyArrayDecomposer._download_from_remote_cell = from_its_sender


def require_stored(archive: bytes) -> None:
    """Refuse an archive of arrays that would be larger once unpacked.

    Raises:
        ValueError: an entry is compressed, or the declared sizes of the entries add up to more than the archive.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        entries = found.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("a payload holds an archive that is compressed")
    if sum(entry.file_size for entry in entries) > len(archive):
        raise ValueError("a payload holds an archive that says it is larger than it is")
