"""A hospital's image archive: where it is, how it is asked, and for which studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.settings.base import Settings

AeTitle = Annotated[str, Field(pattern=r"^[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$")]
"""Application entity title: DICOM PS3.5 §6.2, at most 16 characters, no backslash."""
Keyword = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]+$")]


class Pacs(Settings):
    """``[cohorts.<name>.pacs]``: an archive that ``fedward site index --pacs`` asks."""

    protocol: Literal["c-get", "c-move", "dicomweb"] = Field(
        description="DIMSE over one connection (c-get), sent back to us (c-move), or QIDO-RS and WADO-RS."
    )
    host: str | None = Field(default=None, min_length=1, description="The archive's host, for c-get and c-move.")
    port: int | None = Field(default=None, ge=1, le=65_535, description="Its DICOM port, for c-get and c-move.")
    ae_title: AeTitle | None = Field(default=None, description="Its application entity title, for c-get and c-move.")
    calling_ae_title: AeTitle = Field(default="FEDWARD", description="Ours, as the archive has it in its list.")
    own_host: str = Field(
        default="127.0.0.1", description="Address that c-move's connection from the archive is taken on."
    )
    own_port: int | None = Field(default=None, ge=1, le=65_535, description="Port of the same; c-move needs it.")
    url: str | None = Field(
        default=None, pattern=r"^https?://[^\s]+$", description="Root of the DICOMweb service, for dicomweb."
    )
    credentials: Path | None = Field(
        default=None,
        description="File with `user:password` or `Bearer TOKEN` for dicomweb; no one but its owner may read it.",
    )
    ca: Path | None = Field(
        default=None, description="PEM file of the authority that signed the archive's certificate, for dicomweb."
    )
    query: dict[Keyword, str] = Field(
        min_length=1,
        description="Study-level keys by DICOM keyword, such as StudyDate = '20200101-20241231' (PS3.4 C.2.2.2).",
    )
    timeout_s: float = Field(default=30.0, gt=0.0, description="Seconds without an answer after which it is given up.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = {"dicomweb": ("url",), "c-get": ("host", "port", "ae_title")}
        needs["c-move"] = (*needs["c-get"], "own_port")
        absent = [name for name in needs[self.protocol] if getattr(self, name) is None]
        if absent:
            raise ValueError(f"{self.protocol} needs {', '.join(absent)}")
        return self
