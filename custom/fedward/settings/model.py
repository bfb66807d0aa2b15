"""Define a job's network and the weights that it starts from: ``[model]``.

A public start is a file beside ``job.toml``, and beside ``job.json`` where the job travels. The settings have its
SHA-256, so that the job's hash, its approvals and its signature are of this very file. Nothing of the file is
interpreted before the two are compared (``Model.with_start``).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from fedward.errors import SettingsError
from fedward.settings.base import Settings, form
from fedward.settings.names import Name

LARGEST_START = 1 << 27
"""Bytes of a start: 33 million values in float32, as four DenseNet121 have."""
START_FILE = "start.npz"
"""Name under which a job's start travels, beside its settings."""
_REMEDY = "write it with `fedward job start MODEL --out FILE`, and copy the lines that it prints"


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
    start_layers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        description="Beginnings of the names of the tensors that come from the start; all others are drawn from "
        "job.seed. Empty: every tensor comes from it.",
    )
    freeze: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        description="Noise for the sum: beginnings of the names of parameters that keep their start. Their gradients "
        "are not computed, get no noise and are never sent.",
    )
    _start: bytes | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _start_is_whole(self) -> Self:
        if (self.start is None) != (self.start_sha256 is None):
            raise ValueError(f"start and start_sha256 go together: {_REMEDY}")
        if self.start is None and self.start_layers:
            raise ValueError("start_layers are of a start, and there is none: give start and start_sha256")
        return self

    @property
    def start_bytes(self) -> bytes | None:
        """Content of the start's file, whose hash was compared; None: it is not here, or the job has no start."""
        return self._start

    def with_start(self, content: bytes) -> Self:
        """Return the table with the content of its start's file.

        Raises:
            ValueError: there is no start, or the content is too large or has another hash.
        """
        if self.start_sha256 is None:
            raise ValueError("job has no start")
        if len(content) > LARGEST_START:
            raise ValueError(f"start has more than {LARGEST_START >> 20} MiB, which a job cannot carry")
        if (found := hashlib.sha256(content).hexdigest()) != self.start_sha256:
            raise ValueError(f"start has the SHA-256 {found}, and start_sha256 is another")
        made = self.model_copy()
        made._start = content
        return made

    def read_start(self, path: Path, *, where: Path) -> Self:
        """Return the table with its start, read from a file; unchanged where it has none.

        Args:
            path: the file.
            where: file of the settings, for the error.

        Raises:
            SettingsError: the file cannot be read, is too large, or has another hash.
        """
        if self.start is None:
            return self
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_START + 1)
        except OSError as error:
            what, remedy = f"start cannot be read, {error.strerror}", f"put it beside {where.name}, or leave start out"
            raise SettingsError(what, where=path, remedy=remedy) from None
        try:
            return self.with_start(content)
        except ValueError as error:
            remedy = "choose a smaller network, or leave start out" if len(content) > LARGEST_START else _REMEDY
            raise SettingsError(str(error), where=path, remedy=remedy) from None


def beginnings(names: tuple[str, ...], beginning: str) -> tuple[str, ...]:
    """Return the names that are, or begin with the whole parts of, ``beginning``.

    So ``net.layer_1`` is the beginning of ``net.layer_1.conv.weight``, and not of ``net.layer_10.conv.weight``.
    """
    return tuple(name for name in names if f"{name}.".startswith(f"{beginning.rstrip('.')}."))
