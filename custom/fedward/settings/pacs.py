"""Define a hospital's image archive: its address, its protocol, and the studies to query."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from fedward.settings.base import Settings, form

AeTitle = Annotated[
    str,
    form(
        r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?",
        "is no application entity title: give 1 to 16 ASCII characters, no backslash, and no space at either end",
    ),
]
"""Application entity title: DICOM PS3.5 §6.2, at most 16 characters, no backslash."""
Keyword = Annotated[str, form(r"[A-Z][A-Za-z]+", "is no DICOM keyword: write it as in PS3.6, such as StudyDate")]


class Pacs(Settings):
    """``[cohorts.<name>.pacs]``: archive that ``fedward site index --pacs`` queries."""

    protocol: Literal["c-get", "c-move", "dicomweb"] = Field(
        description="DIMSE over one connection (c-get), DIMSE to own_port (c-move), or QIDO-RS and WADO-RS (dicomweb)."
    )
    host: str | None = Field(default=None, min_length=1, description="The archive's host, for c-get and c-move.")
    port: int | None = Field(default=None, ge=1, le=65_535, description="Its DICOM port, for c-get and c-move.")
    ae_title: AeTitle | None = Field(default=None, description="Its application entity title, for c-get and c-move.")
    calling_ae_title: AeTitle = Field(default="FEDWARD", description="Our own title, as registered in the archive.")
    own_host: str = Field(default="127.0.0.1", description="Own address that the archive connects to, for c-move.")
    own_port: int | None = Field(default=None, ge=1, le=65_535, description="Own port for the same; c-move needs it.")
    url: str | None = Field(
        default=None, description="Root of the DICOMweb service, for dicomweb: http or https, without user or query."
    )
    credentials: Path | None = Field(
        default=None,
        description="File with `user:password` or `Bearer TOKEN` for dicomweb; only its owner may read it.",
    )
    ca: Path | None = Field(
        default=None, description="PEM file of the authority that signed the archive's certificate, for dicomweb."
    )
    query: dict[Keyword, str] = Field(
        min_length=1,
        description="Study-level keys by DICOM keyword, such as StudyDate = '20200101-20241231' (PS3.4 C.2.2.2).",
    )
    timeout_s: float = Field(default=30.0, gt=0.0, description="Seconds to wait for an answer before giving up.")

    @model_validator(mode="after")
    def _plain_url(self) -> Self:
        """Refuse a url that may hold a secret; messages print urls. A model's error does not print its values."""
        if self.url is None:
            return self
        try:
            place = urlsplit(self.url)
            sound = self.url.startswith(("http://", "https://")) and bool(place.hostname) and place.port != 0
        except ValueError:
            sound = False
        if not sound or not self.url.isprintable() or " " in self.url:
            raise ValueError("url is no URL: begin it with https:// or http:// (not shown)")
        if "@" in self.url or "?" in self.url or "#" in self.url:
            raise ValueError(
                "url holds a user, a query or a fragment (not shown): write user:password or Bearer TOKEN into a file "
                "and name it in credentials"
            )
        return self

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = {"dicomweb": ("url",), "c-get": ("host", "port", "ae_title")}
        needs["c-move"] = (*needs["c-get"], "own_port")
        absent = [name for name in needs[self.protocol] if getattr(self, name) is None]
        if absent:
            raise ValueError(f"{self.protocol} needs {', '.join(absent)}")
        return self
