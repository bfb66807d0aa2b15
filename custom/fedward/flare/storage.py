"""Store the server's jobs and snapshots below its own kit, whatever folder the kit was unpacked to."""

from __future__ import annotations

from pathlib import Path

from nvflare.app_common.storages.filesystem_storage import FilesystemStorage


class KitStorage(FilesystemStorage):  # type: ignore[misc]
    """FLARE's file storage, rooted below the folder that the server process runs in, which is its kit.

    FLARE requires an absolute path in the kit's configuration; its default is below /tmp, where all servers share it.

    Args:
        folder: path relative to the kit; "" is the kit itself.
    """

    def __init__(self, folder: str = "") -> None:
        super().__init__(root_dir=str(Path.cwd() / folder))
