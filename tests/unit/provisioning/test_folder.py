"""A federation's folder changes whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NoReturn

import pytest

from fedward.errors import FederationError
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.inventory import Inventory, encode_inventory

OLD = Inventory(federation="trial", host="localhost", port=1, crl_number=1)
NEW = OLD.model_copy(update={"crl_number": 2})


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def fill(draft: FederationFolder, inventory: Inventory, *kits: str) -> None:
    draft.state.mkdir(parents=True)
    (draft.state / "inventory.json").write_bytes(encode_inventory(inventory))
    for kit in kits:
        (draft.kit(kit) / "startup").mkdir(parents=True)
        (draft.kit(kit) / "startup" / "a").write_text(f"{inventory.crl_number}")
        (draft.kit(kit) / "startup" / "b").write_text(f"{inventory.crl_number}")


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    folder = FederationFolder(tmp_path / "trial")
    with folder.change() as draft:
        fill(draft, OLD, "north")
    return folder


def test_files_take_their_places_and_other_files_stay(folder: FederationFolder) -> None:
    (folder.kit("north") / "local").mkdir()
    (folder.kit("north") / "local" / "site.toml").write_text("mine")
    with folder.change() as draft:
        fill(draft, NEW, "south")
        (draft.kit("north") / "startup").mkdir(parents=True)
        (draft.kit("north") / "startup" / "a").write_text("renewed")
    assert tree(folder.root) == {
        "state/inventory.json": encode_inventory(NEW),
        "prod_00/north/startup/a": b"renewed",
        "prod_00/north/startup/b": b"1",
        "prod_00/north/local/site.toml": b"mine",
        "prod_00/south/startup/a": b"2",
        "prod_00/south/startup/b": b"2",
    }


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), RuntimeError(), OSError(errno.ENOSPC, "No space left")])
def test_an_interrupted_change_leaves_everything_as_it_was(
    folder: FederationFolder, interruption: BaseException
) -> None:
    before = tree(folder.root)
    with pytest.raises((KeyboardInterrupt, RuntimeError, FederationError)), folder.change() as draft:
        fill(draft, NEW, "south")
        raise interruption
    assert tree(folder.root) == before


def test_an_interrupted_first_change_leaves_no_folder(tmp_path: Path) -> None:
    folder = FederationFolder(tmp_path / "trial")
    with pytest.raises(KeyboardInterrupt), folder.change() as draft:
        fill(draft, NEW, "south")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_a_change_that_is_interrupted_while_it_is_moved_is_completed(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Stopped at any of the moves: each kit is old or new as a whole, and whoever reads sees one of the two states."""
    before, moves = tree(folder.root), 0
    real = Path.replace, Path.rename, Path.rmdir

    def counted(number: int) -> object:
        def move(self: Path, *args: object) -> object:
            nonlocal moves
            moves += 1
            if moves == stop_at:
                raise KeyboardInterrupt
            return real[number](self, *args)  # type: ignore[operator]

        return move

    stopped = False
    with monkeypatch.context() as patch:
        for number, name in enumerate(("replace", "rename", "rmdir")):
            patch.setattr(Path, name, counted(number))
        try:
            with folder.change() as draft:
                fill(draft, NEW, "south", "west")
        except KeyboardInterrupt:
            stopped = True
    for kit in ("south", "west"):
        assert not folder.kit(kit).exists() or len(tree(folder.kit(kit))) == 2
    if folder.known() == OLD:
        assert stopped
        assert {name: content for name, content in tree(folder.root).items() if ".draft" not in name} == before
    else:
        assert folder.known() == NEW
        folder.complete()
        assert (folder.state / "inventory.json").read_bytes() == encode_inventory(NEW)
        assert {path.name for path in (folder.root / "prod_00").iterdir()} == {"north", "south", "west"}
    with folder.change():
        pass
    assert {path.name for path in folder.root.iterdir()} == {"state", "prod_00"}


def test_two_changes_at_a_time_are_refused(folder: FederationFolder) -> None:
    script = """
        import sys
        from pathlib import Path
        from fedward.errors import FederationError
        from fedward.provisioning.folder import FederationFolder
        try:
            with FederationFolder(Path(sys.argv[1])).change():
                pass
        except FederationError as error:
            print(error)
    """
    with folder.change():
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(folder.root)],
            capture_output=True,
            text=True,
            check=True,
        )
    assert "another command is changing it" in done.stdout


def test_a_disk_that_takes_nothing_is_one_line(folder: FederationFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(folder.root)

    def full(handle: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FederationError, match=r"No space left on device.*free space"), folder.change() as draft:
        fill(draft, NEW, "south")
    assert tree(folder.root) == before


def test_nothing_was_provisioned(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="no federation was provisioned here"):
        FederationFolder(tmp_path / "trial").known()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"federation": "trial"}'])
def test_a_damaged_inventory_is_one_line(folder: FederationFolder, content: bytes) -> None:
    (folder.state / "inventory.json").write_bytes(content)
    with pytest.raises(FederationError, match="inventory is damaged"):
        folder.known()
