"""Change a federation's folder on the operator's machine: completely or not at all.

::

    OUT/<federation>/
        state/         the authority (rootCA.pem, rootCA.key, ca.json), inventory.json, revoked.crl,
                       certificates/<name>.pem, requests/<name>.request.zip
        prod_00/       kits that the operator made
        invitations/   files that hospitals receive first
        signed/        zips that they receive next

A change is made in a draft folder of the same shape. Renaming the draft decides the change. Before that, the folder is
unchanged. After that, finished files and kits are moved to their places; if this is interrupted, the next command that
opens the folder completes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fedward.errors import FederationError
from fedward.files import sync
from fedward.provisioning.inventory import INVENTORY_FILE, Inventory, read_inventory

STATE, KITS, INVITATIONS, SIGNED = "state", "prod_00", "invitations", "signed"
_DRAFT, _DECIDED = ".draft-", ".decided"


@dataclass(frozen=True, slots=True)
class FederationFolder:
    """Folder ``OUT/<federation>``, or a draft of it."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / STATE

    def kit(self, name: str) -> Path:
        return self.root / KITS / name

    def certificate(self, name: str) -> Path:
        """Return the path of the participant's newest certificate."""
        return self.state / "certificates" / f"{name}.pem"

    def request(self, name: str) -> Path:
        return self.state / "requests" / f"{name}.request.zip"

    def invitation(self, name: str) -> Path:
        return self.root / INVITATIONS / f"{name}.invitation.json"

    def signed(self, name: str) -> Path:
        return self.root / SIGNED / f"{name}.signed.zip"

    def inventory(self) -> Inventory | None:
        """Return the inventory, including a change that was decided and interrupted; None if nothing was issued."""
        decided = read_inventory(self.root / _DECIDED / STATE / INVENTORY_FILE)
        return decided or read_inventory(self.state / INVENTORY_FILE)

    def known(self) -> Inventory:
        """Return the inventory.

        Raises:
            FederationError: nothing was issued here.
        """
        inventory = self.inventory()
        if inventory is None:
            remedy = "give the --out and the federation's name that it was provisioned with"
            raise FederationError("no federation was provisioned here", where=self.root, remedy=remedy)
        return inventory

    @contextmanager
    def change(self) -> Iterator[FederationFolder]:
        """Yield a draft; at the end of the ``with``, its files replace those here and its new folders are added whole.

        Raises:
            FederationError: another change is in progress, or the disk cannot be written. Nothing has changed then.
        """
        new = not self.root.exists()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with _locked(self.root):
                self.settle()
                draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self.root))
                try:
                    yield FederationFolder(draft)
                    _sync(draft)
                    draft.rename(self.root / _DECIDED)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
                self.settle()
        except OSError as error:
            remedy = "free space or give another folder"
            raise FederationError(str(error.strerror), where=error.filename or self.root, remedy=remedy) from None
        finally:
            if new:
                with suppress(OSError):  # the folder is not empty: the change succeeded
                    self.root.rmdir()

    def complete(self) -> None:
        """Complete a change that was decided and interrupted, if there is one."""
        if (self.root / _DECIDED).is_dir():
            with _locked(self.root):
                self.settle()

    def settle(self) -> None:
        """Complete a change that was decided and interrupted; remove the drafts of those that were not."""
        decided = self.root / _DECIDED
        if decided.is_dir():
            _settle(decided, self.root)
        for draft in self.root.glob(f"{_DRAFT}*"):
            shutil.rmtree(draft, ignore_errors=True)


def _settle(source: Path, target: Path) -> None:
    for item in sorted(source.iterdir()):
        place = target / item.name
        if item.is_dir() and place.is_dir():
            _settle(item, place)
        else:
            item.replace(place)
    source.rmdir()


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise FederationError("another command is changing it", where=root, remedy="try again when it ends") from None
    try:
        yield
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    """Write everything below to the disk, before the rename that decides."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            sync(path)
