"""Define a job's network and the weights that it starts from: ``[model]``.

A public start is a file beside ``job.toml``. ``read_job`` reads it, and from then on its bytes are part of the
settings: the job's hash, its approvals and its signature cover them, and who has the job has them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fedward.errors import SettingsError
from fedward.settings.base import Settings, form
from fedward.settings.names import Name

LARGEST_START = 1 << 19
"""Bytes of a start: some 130,000 values. In the job's settings it takes a third more, and these have 1 MiB."""
_CONTENT = "start_content"
_REMEDY = "write it with `fedward job start MODEL --out FILE`, and copy both lines that it prints"


class Model(Settings):
    """``[model]``."""

    network: Name = Field(description="MONAI network by class name, from Fedward's table.")
    args: dict[str, Any] = Field(
        default_factory=dict, description="Its keyword arguments, except those that Fedward derives."
    )
    batch_norm: Literal["refuse", "local", "average"] = Field(
        default="refuse",
        description="BatchNorm: refuse it, keep its parameters and statistics at each site (FedBN), or average them.",
    )
    start: (
        Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9._-]*\.npz", "is no file beside job.toml whose name ends in .npz")]
        | None
    ) = Field(
        default=None,
        description="File beside job.toml with public weights to start from, as `fedward job start` writes it; "
        "without it the weights are drawn from job.seed.",
    )
    start_sha256: (
        Annotated[str, form(r"[0-9a-f]{64}", "is no hash: copy the 64 digits that `fedward job start` prints")] | None
    ) = Field(default=None, description="SHA-256 of that file; no other weights are used.")
    start_content: str | None = Field(
        default=None,
        repr=False,
        description="Filled in by Fedward: the file in base64, which travels in the job. Not for job.toml.",
    )
    freeze: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        description="Noise for the sum: beginnings of the names of parameters that keep their start. Their gradients "
        "are not computed, get no noise and are never sent.",
    )

    @model_validator(mode="after")
    def _start_is_whole(self) -> Self:
        given = (self.start, self.start_sha256, self.start_content)
        if given == (None, None, None):
            return self
        if None in given:
            raise ValueError("start and start_sha256 go together, and the job carries the file's content")
        _ = self.start_bytes
        return self

    @property
    def start_bytes(self) -> bytes | None:
        """Content of the start's file, whose hash was compared; None: the weights are drawn from the seed.

        Raises:
            ValueError: it is too large, or has another hash than ``start_sha256``.
        """
        if self.start_content is None:
            return None
        if len(self.start_content) > 4 * -(-LARGEST_START // 3):
            raise ValueError(f"start has more than {LARGEST_START >> 10} KiB, which a job cannot carry")
        try:
            content = base64.b64decode(self.start_content, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("start_content is not base64") from None
        if base64.b64encode(content).decode("ascii") != self.start_content:
            raise ValueError("start_content is not base64 in its one form")
        if (found := hashlib.sha256(content).hexdigest()) != self.start_sha256:
            raise ValueError(f"start has the SHA-256 {found}, and start_sha256 is another")
        return content


def with_start(content: dict[str, Any], *, where: Path) -> dict[str, Any]:
    """Return a ``job.toml``'s content with that of its start's file; unchanged where it names none.

    Args:
        content: as read.
        where: path of ``job.toml``; the start's file is in its folder.

    Raises:
        SettingsError: the file cannot be read or is too large, has another hash, or ``start_content`` was written by
            hand.
    """
    model = content.get("model")
    if not isinstance(model, dict):
        return content
    if _CONTENT in model:
        raise SettingsError("start_content is not for job.toml", where=where, remedy="leave it out, and give start")
    name, due = model.get("start"), model.get("start_sha256")
    if not isinstance(name, str) or Path(name).name != name:
        return content  # the model's own check says what is wrong
    path = where.parent / name
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_START + 1)
    except OSError as error:
        what = f"model.start cannot be read, {error.strerror}"
        raise SettingsError(what, where=path, remedy="put the file beside job.toml, or leave start out") from None
    if len(data) > LARGEST_START:
        what = f"model.start has more than {LARGEST_START >> 10} KiB, which a job cannot carry"
        raise SettingsError(what, where=path, remedy="choose a smaller network, or leave start out")
    found = hashlib.sha256(data).hexdigest()
    if due is None:
        raise SettingsError("model.start without its hash", where=where, remedy=f'give start_sha256 = "{found}"')
    if found != due:
        raise SettingsError("model.start is another file than the job says", where=path, value=found, remedy=_REMEDY)
    return content | {"model": model | {_CONTENT: base64.b64encode(data).decode("ascii")}}
