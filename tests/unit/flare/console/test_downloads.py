"""A server that lies answers a download: nothing is written, moved or deleted outside the person's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.fuel.hci.client.api import AdminAPI
from nvflare.fuel.hci.client.api_status import APIStatus
from nvflare.fuel.hci.client.file_transfer import FileTransferModule
from nvflare.fuel.hci.cmd_arg_utils import split_to_args
from nvflare.fuel.hci.proto import MetaKey, ProtoKey

from fedward.flare.console.downloads import REFUSED, hold, is_plain

JOB = "0b7a1c1e-5b0e-4c7a-9f00-000000000001"
TX, REF = "4b2d5bfa-2f55-4a27-8d8b-3a6e3a1f6f11", "R9f0c"


def answer(*names: str, tx: object = TX, source: object = "server", **more: object) -> dict[str, Any]:
    meta = {MetaKey.FILES: [[name, REF] for name in names], MetaKey.TX_ID: tx, MetaKey.SOURCE_FQCN: source}
    return {ProtoKey.STATUS: APIStatus.SUCCESS, ProtoKey.META: meta | more}


class Liar:
    """Replaces FLARE's API of a console whose server gives any answer; FLARE's own code does the rest."""

    def __init__(self, kit: Path, lie: dict[str, Any]) -> None:
        self.lie, self.wrote = lie, list[Path]()
        for name in ("up", "down"):
            (kit / name).mkdir(parents=True)
        self.module = FileTransferModule(str(kit / "up"), str(kit / "down"))

    def server_execute(self, command: str, cmd_ctx: Any = None, **_: object) -> dict[str, Any]:
        if cmd_ctx is None:
            return self.lie
        cmd_ctx.requester.send_request(self, None, cmd_ctx)
        return cast(dict[str, Any], cmd_ctx.result)

    def download_file(self, source: str, ref: str, name: str) -> int:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("written by the server")
        self.wrote.append(path)
        return 21

    def do_command(self, command: str) -> dict[str, Any]:
        return cast(dict[str, Any], self.module.pull_binary_file(split_to_args(command), Context(self, command)))

    def debug(self, *_: object) -> None: ...

    def fire_session_event(self, *_: object) -> None: ...

    def fetch(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.module.pull_folder(["download_job", JOB], Context(self, "")))


class Context:
    """Stands for the context in which FLARE runs a console's command."""

    usage = ""

    def __init__(self, api: Liar, command: str) -> None:
        self.api, self.command, self.requester, self.result = api, command, None, None

    def get_command_entry(self) -> Context:
        return self

    def full_command_name(self) -> str:
        return "job_mgmt.download_job"

    def get_api(self) -> Liar:
        return self.api

    def get_command(self) -> str:
        return self.command

    def set_requester(self, requester: Any) -> None:
        self.requester = requester

    def set_command_result(self, result: Any) -> None:
        self.result = result


def test_a_result_comes(tmp_path: Path) -> None:
    api = Liar(tmp_path, answer("workspace/events.jsonl", "job/meta.json"))
    hold(cast(AdminAPI, api))
    assert api.fetch()[ProtoKey.STATUS] == APIStatus.SUCCESS
    (folder,) = (tmp_path / "down").iterdir()
    assert (folder / "workspace" / "events.jsonl").is_file()


def lies(home: Path) -> dict[str, dict[str, Any]]:
    return {
        "absolute": answer(str(home / ".bashrc")),
        "above": answer("../../.bashrc"),
        "second": answer("workspace/events.jsonl", "a/../../../.bashrc"),
        "transaction": answer("x", tx="/../../precious"),
        "moved": {
            ProtoKey.STATUS: APIStatus.SUCCESS,
            ProtoKey.META: {MetaKey.FILES: [], MetaKey.LOCATION: str(home / "precious")},
        },
    }


@pytest.mark.parametrize("lie", ["absolute", "above", "second", "transaction", "moved"])
@pytest.mark.parametrize("held", [True, False])
def test_nothing_happens_outside_the_kit(tmp_path: Path, lie: str, held: bool) -> None:
    """Without the check each of these lies does what it says: the test can fail."""
    kit, precious = tmp_path / "kit", tmp_path / "precious" / "letter"
    precious.parent.mkdir()
    precious.write_text("mine")
    api = Liar(kit, lies(tmp_path)[lie])
    if held:
        hold(cast(AdminAPI, api))
    said = api.fetch()
    outside = [path for path in api.wrote if not path.resolve().is_relative_to(kit.resolve())]
    harmless = not outside and MetaKey.LOCATION not in (said.get(ProtoKey.META) or {}) and not api.wrote
    assert harmless is held
    assert (said.get(ProtoKey.DETAILS) == REFUSED) is held


@given(
    st.lists(
        st.sampled_from(["..", ".", "a", "/", "\\", "~", " ", "'", '"', "\n", "é", "b.json"]), min_size=1, max_size=6
    )
)
def test_a_plain_name_stays_below_its_folder(parts: list[str]) -> None:
    for name in ("/".join(parts), "".join(parts)):
        meta = answer(name)[ProtoKey.META]
        if is_plain(meta):
            (written,) = split_to_args(f"x {name}")[1:]
            assert written == name
            assert (Path("/kit/down/tx") / name).resolve().is_relative_to("/kit/down/tx")


@pytest.mark.parametrize(
    "meta",
    [
        "files",
        [],
        {MetaKey.FILES: "x"},
        {MetaKey.FILES: {"x": REF}},
        answer("x", tx=None)[ProtoKey.META],
        answer("x", source=7)[ProtoKey.META],
        answer("x", source="server x")[ProtoKey.META],
        answer("")[ProtoKey.META],
        answer("x" * 2000)[ProtoKey.META],
        {MetaKey.FILES: [["x"]], MetaKey.TX_ID: TX, MetaKey.SOURCE_FQCN: "server"},
        {MetaKey.FILES: [["x", "../y"]], MetaKey.TX_ID: TX, MetaKey.SOURCE_FQCN: "server"},
    ],
)
def test_other_forms_are_refused(meta: object) -> None:
    assert not is_plain(meta)


@pytest.mark.parametrize("meta", [None, {}, {MetaKey.STATUS: "ok"}, {MetaKey.FILES: None}, {MetaKey.FILES: []}])
def test_an_answer_without_files_is_plain(meta: object) -> None:
    assert is_plain(meta)
