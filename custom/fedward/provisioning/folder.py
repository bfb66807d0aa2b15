"""A federation's folder on the operator's machine, and how it changes: whole or not at all.

::

    OUT/<federation>/
        state/         the authority (rootCA.pem, rootCA.key, ca.json), inventory.json, revoked.crl,
                       certificates/<name>.pem, requests/<name>.request.zip
        prod_00/       kits that the operator made
        invitations/   what hospitals are sent first
        signed/        what they are sent next

A change is made in a draft folder of the same shape. Renaming the draft is the one moment that decides: before it the
folder is as it was, and after it the rest is moving finished files and kits to their places, which whoever opens the
folder next completes if it was interrupted.
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
from fedward.provisioning.inventory import INVENTORY_FILE, Inventory, read_inventory

STATE, KITS, INVITATIONS, SIGNED = "state", "prod_00", "invitations", "signed"
_DRAFT, _DECIDED = ".draft-", ".decided"


@dataclass(frozen=True, slots=True)
class FederationFolder:
    """``OUT/<federation>``, or a draft of it."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / STATE

    def kit(self, name: str) -> Path:
        return self.root / KITS / name

    def certificate(self, name: str) -> Path:
        """The participant's newest certificate."""
        return self.state / "certificates" / f"{name}.pem"

    def request(self, name: str) -> Path:
        return self.state / "requests" / f"{name}.request.zip"

    def invitation(self, name: str) -> Path:
        return self.root / INVITATIONS / f"{name}.invitation.json"

    def signed(self, name: str) -> Path:
        return self.root / SIGNED / f"{name}.signed.zip"

    def inventory(self) -> Inventory | None:
        """What was issued, a change that was decided and interrupted included; None where nothing was."""
        decided = read_inventory(self.root / _DECIDED / STATE / INVENTORY_FILE)
        return decided or read_inventory(self.state / INVENTORY_FILE)

    def known(self) -> Inventory:
        """The inventory.

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
        """A draft; what is in it when the ``with`` ends takes its place here, file for file and new folders whole.

        Raises:
            FederationError: another change is under way, or the disk does not take it. Nothing has changed then.
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
                with suppress(OSError):  # something is in it: the change went through
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
    """Everything below is on the disk before the rename that decides."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_symlink():
            continue
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
