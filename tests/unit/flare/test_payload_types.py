"""Check the types that a payload may hold, with FLARE's own serializer."""

from __future__ import annotations

import io
import json
import struct
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import Shareable
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.app_common.decomposers import common_decomposers
from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer
from nvflare.app_common.np.np_downloader import ArrayConsumer, ArrayDownloadable
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.message import Message
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.fobs import fobs as packer
from nvflare.fuel.utils.fobs import lobs
from nvflare.private.admin_defs import Message as AdminMessage

from fedward.flare import payload_types

ITEM = {"type": packer.FOBS_TYPE, "by": packer.FOBS_DECOMPOSER, "data": packer.FOBS_DATA}


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    flare_decomposers.register()
    common_decomposers.register()
    monkeypatch.setattr(packer.Packer, "unpack", packer.Packer.unpack)
    monkeypatch.setattr(lobs, "get_datum_dir", lobs.get_datum_dir)
    monkeypatch.setattr(lobs, "get_dot_handler", lobs.get_dot_handler)
    monkeypatch.setattr(ArrayConsumer, "_to_dict", ArrayConsumer.__dict__["_to_dict"])
    monkeypatch.setattr(NumpyArrayDecomposer, "native_recompose", NumpyArrayDecomposer.native_recompose)
    name = "_download_from_remote_cell"
    monkeypatch.setattr(NumpyArrayDecomposer, name, getattr(NumpyArrayDecomposer, name))
    payload_types.install()
    yield


def section(marker: int, content: bytes, *, kind: int = 0, number: bytes = b"") -> bytes:
    return struct.pack(">BBQ", marker, kind, len(number) + len(content)) + number + content


def packed(named: str, by: str, data: Any) -> bytes:
    body = {ITEM["type"]: named, ITEM["by"]: by, ITEM["data"]: data}
    return section(lobs.MARKER_MAIN, msgpack.packb(body))


@pytest.mark.parametrize("size", [10, 11_000_000])
def test_what_jobs_send_arrives(size: int) -> None:
    sent = Shareable()
    sent["sealed"], sent["said"] = b"\x07" * size, "ä" * size
    sent["dxo"] = DXO(DataKind.WEIGHTS, data={"layer": np.arange(5.0)})
    found = fobs.loads(fobs.dumps(sent))
    assert type(found) is Shareable
    assert (found["sealed"], found["said"]) == (sent["sealed"], sent["said"])
    np.testing.assert_array_equal(found["dxo"].data["layer"], np.arange(5.0))
    asked = fobs.loads(fobs.dumps(AdminMessage("train.abort", "")))
    assert type(asked) is AdminMessage and asked.topic == "train.abort"


@pytest.mark.parametrize(
    "named",
    ["nvflare.apis.workspace.Workspace", "nvflare.apis.signal.Signal", "argparse.Namespace", "os.system", 7, None],
)
def test_no_other_class_is_built(named: Any) -> None:
    with pytest.raises(ValueError, match="no message has"):
        fobs.loads(packed(named, payload_types.TYPES["tuple"], {}))


@pytest.mark.parametrize("named", sorted(payload_types.TYPES))
def test_a_sender_does_not_choose_what_rebuilds_a_class(named: str) -> None:
    """FLARE keeps the first one that it is told, for everybody who sends that class later."""
    for by in {*payload_types.TYPES.values(), "", None} - {payload_types.TYPES[named]}:
        with pytest.raises(ValueError, match="no message has"):
            fobs.loads(packed(named, by, {}))


def test_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVFLARE_DATUM_DIR", str(tmp_path))
    payload = section(lobs.MARKER_MAIN, msgpack.packb({}))
    payload += section(lobs.MARKER_DATUM_FILE, b"content", number=uuid.uuid4().bytes)
    with pytest.raises(ValueError, match="holds a file"):
        fobs.loads(payload)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["server.0b7a1c1e-5b0e-4c7a-9f00-000000000001", "south-clinic", None, 7])
def test_an_array_is_asked_of_its_sender_alone(source: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def download(self: Any, *given: Any, **named: Any) -> Any:
        asked.append(named["from_fqcn"])
        return None, {"T0": np.zeros(1)}

    monkeypatch.setattr(NumpyArrayDecomposer, "download", download)
    reference = json.dumps({"fqcn": source, "ref_id": str(uuid.uuid4())}).encode()
    payload = section(lobs.MARKER_MAIN, msgpack.packb({}))
    payload += section(lobs.MARKER_DATUM_TEXT, reference, kind=3, number=uuid.uuid4().bytes)
    for sender in ("north-clinic", source):
        message = Message({MessageHeaderKey.ORIGIN: sender})
        context = {"cell": object(), "message": message, "download_req_timeout": 1.0}
        if sender == source and type(sender) is str:
            fobs.loads(payload, fobs_ctx=context)
        else:
            with pytest.raises(ValueError, match="not at its sender"):
                fobs.loads(payload, fobs_ctx=context)
    assert asked == ([source] if type(source) is str else [])


def test_a_reference_is_to_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = section(lobs.MARKER_MAIN, msgpack.packb({}))
    payload += section(lobs.MARKER_DATUM_TEXT, b"{}", kind=9, number=uuid.uuid4().bytes)
    with pytest.raises(ValueError, match="something else than an array"):
        fobs.loads(payload)


def test_an_archive_of_arrays_is_as_large_as_what_is_in_it() -> None:
    arrays = {"layer": np.arange(100_000.0)}
    sent = ArrayDownloadable(arrays, 2**21).produce_item(0)
    np.testing.assert_array_equal(ArrayConsumer._to_dict(sent)["layer"], arrays["layer"])
    bomb = io.BytesIO()
    np.savez_compressed(bomb, layer=np.zeros(10_000_000))
    assert len(bomb.getvalue()) < 10_000_000 * 8 / 100
    with pytest.raises(ValueError, match="compressed"):
        ArrayConsumer._to_dict(bomb.getvalue())
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("layer.npy", b"x" * 1000)
    lying = twice.getvalue().replace(struct.pack("<II", 1000, 1000), struct.pack("<II", 1000, 10**9))
    with pytest.raises(ValueError, match="larger than it is"):
        ArrayConsumer._to_dict(lying)


def test_an_array_is_in_numpys_form() -> None:
    archive = io.BytesIO()
    np.savez_compressed(archive, layer=np.zeros(1000))
    data = {"type": "native", "data": archive.getvalue()}
    with pytest.raises(ValueError, match="another form"):
        fobs.loads(packed("numpy.ndarray", payload_types.TYPES["numpy.ndarray"], data))
