"""Decide what an update changes in one kit, or refuse it.

An update is taken if all of these hold, and refused otherwise:

* it is signed by the authority of the kit, for the kit's federation and participant;
* it is not older than the kit: neither its version nor its time;
* its version is the installed package, byte for byte, and each file is what that package itself would write. So an
  operator can bring no other content into a hospital than a package that the hospital installed;
* no file that it replaces was edited since the kit was made or last updated.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward.errors import FederationError
from fedward.provisioning.stamp import STAMP_FILE, Stamp, read_stamp
from fedward.upkeep.kit_files import content_hash, kind_of, with_own_components
from fedward.upkeep.update_file import KitUpdate, Manifest, Update

_ASK = "ask the operator for an update of this kit"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:\D.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """New content of one file; ``old`` is None where the kit has no such file."""

    path: str
    old: bytes | None
    new: bytes

    @property
    def diff(self) -> str:
        """Difference in lines, as ``diff -u`` prints it."""
        old, new = ((text or b"").decode("utf-8", "replace").splitlines() for text in (self.old, self.new))
        return "\n".join(difflib.unified_diff(old, new, self.path, self.path, "old", "new", lineterm=""))


@dataclass(frozen=True, slots=True, kw_only=True)
class KitPlan:
    """What an update does to one kit.

    Attributes:
        before, after: its stamps. changes: files that get another content; without any, the stamp alone changes.
    """

    kit: Path
    before: Stamp
    after: Stamp
    changes: tuple[Change, ...]

    @property
    def done(self) -> bool:
        """True if the kit is already as the update would make it."""
        return self.before == self.after and not self.changes

    @property
    def files(self) -> dict[str, bytes]:
        """Every file to write, by path below the kit; the stamp is the last."""
        stamp = (self.after.model_dump_json(indent=2) + "\n").encode()
        return {change.path: change.new for change in self.changes} | {f"local/{STAMP_FILE}": stamp}


def plan_update(
    kit: Path, update: Update, *, wheel: str, written: Mapping[str, bytes], stock: Sequence[Mapping[str, Any]]
) -> KitPlan:
    """Return what an update, read with the kit's own root certificate, changes in the kit.

    Args:
        wheel: hash of the package that is installed here.
        written: files that the installed package would write for this kit, by path below it.
        stock: FLARE's own contents of ``resources.json``, whose components are nobody's choice.

    Raises:
        FederationError: it is refused; nothing has changed.
    """
    before, manifest = read_stamp(kit), update.manifest
    mine = _mine(kit, before, manifest)
    _require_newer(kit, before, manifest)
    if manifest.wheel != wheel:
        what = "update is of another package than the one installed here"
        remedy = f"install Fedward {manifest.fedward} with the hash that the operator names, then update"
        raise FederationError(what, where=kit, value=f"{manifest.wheel[:12]}, here {wheel[:12]}", remedy=remedy)
    changes, files = [], {}
    for path, content in sorted(update.files[mine.participant].items()):
        if written.get(path) != content:
            what = "update has other content than this Fedward writes"
            raise FederationError(what, where=path, remedy="do not take it, and tell the operator")
        change = _change(kit, path, content, before=before, mine=mine, stock=stock)
        files[path] = content_hash(path, change.new)
        if change.old != change.new:
            changes.append(change)
    versions = {"fedward": manifest.fedward, "flare": manifest.flare, "wheel": manifest.wheel}
    after = before.model_copy(update={**versions, "files": files, "updated": manifest.made_at})
    return KitPlan(kit=kit, before=before, after=after, changes=tuple(changes))


def _mine(kit: Path, stamp: Stamp, manifest: Manifest) -> KitUpdate:
    if manifest.federation != stamp.federation:
        raise FederationError("update of another federation", where=kit, value=manifest.federation, remedy=_ASK)
    found = [one for one in manifest.kits if one.participant == stamp.participant]
    if len(found) != 1 or found[0].kind is not kind_of(kit):
        raise FederationError("update has nothing for this kit", where=kit, value=stamp.participant, remedy=_ASK)
    return found[0]


def _require_newer(kit: Path, stamp: Stamp, manifest: Manifest) -> None:
    new, old = _number(manifest.fedward), _number(stamp.fedward)
    if new < old or (new == old and manifest.made_at < stamp.updated):
        value = f"{manifest.fedward}, kit {stamp.fedward}"
        raise FederationError("update is older than the kit", where=kit, value=value, remedy="give the newest one")


def _number(version: str) -> tuple[int, int, int]:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise FederationError("is no version of Fedward", value=version[:40], remedy=_ASK)
    major, minor, patch = (int(part) for part in found.groups())
    return major, minor, patch


def _change(
    kit: Path, path: str, content: bytes, *, before: Stamp, mine: KitUpdate, stock: Sequence[Mapping[str, Any]]
) -> Change:
    file = kit / path
    if file.is_symlink() or file.parent.is_symlink():
        raise FederationError("is a symbolic link, which no update follows", where=file, remedy="put a file there")
    old = file.read_bytes() if file.is_file() else None
    new = with_own_components(path, content, old=old, stock=stock)
    known = {content_hash(path, new), before.files.get(path), *mine.earlier.get(path, ())}
    if old is None and path in before.files:
        raise FederationError("file of the kit is gone", where=file, remedy="restore it, or join into a new kit")
    if old is not None and content_hash(path, old) not in known:
        what = "was edited since the kit was made" if before.files else "is not known to be as it was made"
        remedy = (
            "restore it from the kit as it was made; what you want to keep of it goes into a component or a new kit"
        )
        raise FederationError(what, where=file, remedy=remedy)
    return Change(path=path, old=old, new=new)
