"""Record a kit's participant and versions in its ``local/fedward.json``, and hash the package that runs.

An installed wheel's own bytes are gone, and a wheel that is built again has other bytes. So the hash covers what the
wheel installs: every file of the package, by name and content. The same source gives the same hash everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from pydantic import Field, ValidationError

import fedward
from fedward.errors import FederationError
from fedward.settings import Name, Settings

STAMP_FILE = "fedward.json"
_NOT_INSTALLED = ("__pycache__",)


class Stamp(Settings):
    """Content of ``local/fedward.json``.

    Attributes:
        federation: its name.
        participant: name in the certificate: site, server's host, or person's e-mail.
        fedward, flare: versions that the operator provisioned with.
        wheel: ``package_hash`` of the operator's Fedward; every participant's must be the same.
        files: hash of each file that an update may replace (``fedward.upkeep.kit_files``), as the kit was made or last
            updated: a file that is another by now was edited. Empty in kits of 0.1.0.
        updated: time at which the operator made the kit's last update, seconds since the epoch; 0: none was applied.
    """

    federation: Name
    participant: str
    fedward: str
    flare: str
    wheel: str
    files: dict[str, str] = Field(default_factory=dict)
    updated: int = 0


def package_hash(folder: Path | None = None) -> str:
    """Return the SHA-256, in hex, over every file of the installed package: path below the package, and content.

    Args:
        folder: the package's folder; None: the one that runs.
    """
    folder = Path(fedward.__file__).parent if folder is None else folder
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if not any(part in _NOT_INSTALLED for part in name.parts):
            whole.update(f"{name.as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def make_stamp(
    *, federation: str, participant: str, wheel: str | None = None, files: Mapping[str, str] | None = None
) -> Stamp:
    """Return a stamp with the versions that run here.

    Args:
        federation, participant: of the kit.
        wheel: the operator's hash, if another machine makes the kit; None: hash of the package that runs here.
        files: of the kit, as in ``Stamp``.
    """
    return Stamp(
        federation=federation,
        participant=participant,
        fedward=fedward.__version__,
        flare=metadata.version("nvflare"),
        wheel=package_hash() if wheel is None else wheel,
        files=dict(files or {}),
    )


def read_stamp(kit: Path) -> Stamp:
    """Read a kit's stamp.

    Raises:
        FederationError: the kit has no stamp, or one that cannot be read.
    """
    path = kit / "local" / STAMP_FILE
    try:
        return Stamp.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        remedy = "give the folder of a kit that `fedward federation` or `fedward site join` made"
        raise FederationError("kit has no stamp", where=path, value=error.strerror, remedy=remedy) from None
    except (ValueError, ValidationError):
        raise FederationError("kit's stamp cannot be read", where=path, remedy="make the kit anew") from None
