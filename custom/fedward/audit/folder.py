"""Name the files of one audit log, and the seals that they may have."""

from __future__ import annotations

from pathlib import Path

from fedward.audit.anchor import Anchor
from fedward.audit.entry import Last
from fedward.audit.files import LOG_FILE
from fedward.audit.head import HEAD_FILE
from fedward.audit.keys import KEY_FILE, Keys
from fedward.privacy.ledger.hash_chain import Seal


class LogFolder:
    """Folder of one log.

    Args:
        folder: the folder, which may be absent.
        site_toml: the hospital's; its key seals the log once it exists.
    """

    def __init__(self, folder: Path, *, site_toml: Path | None = None) -> None:
        self.path, self.head = folder / LOG_FILE, folder / HEAD_FILE
        self.keys = Keys(folder / KEY_FILE, site_toml=site_toml)
        self.anchor = Anchor(self.keys)
        self._folder = folder

    @property
    def seals(self) -> tuple[Seal, ...]:
        """The seals that an entry or a head may have, as far as their keys are here."""
        return tuple(seal for seal in (self.keys.site, self.keys.own) if seal is not None)

    def seals_after(self, anchor: Last | None) -> tuple[Seal, ...]:
        """The seals that the head, and an entry after the anchor's, may have: the site's alone, where there is one."""
        return self.seals if anchor is None or self.keys.site is None else (self.keys.site,)
