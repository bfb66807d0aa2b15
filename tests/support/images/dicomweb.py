"""A DICOMweb archive in memory, as badly behaved as it is told to be; it stands in for the network alone."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import requests
from pydicom import Dataset
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from tests.support.images.dicom_files import as_bytes

Warns = Literal["truly", "with-number", "always", "never"]
URL = "http://archive.invalid/dicom-web"
_BOUNDARY = b"B"


class DicomWeb(BaseAdapter):
    """QIDO-RS and WADO-RS over the data sets in ``held``.

    Attributes:
        cap: answers to a question at most.
        window: answers to a question at most, over all its pages.
        heeds_offset: False for an archive without paging.
        warns: which answers carry ``Warning: 299``.
        shuffles: where given, the order is another one for each page.
        states: the number that it states for a number of series or instances; None for none.
        nameless: UIDs that its lists leave out of their answers.
        value: the attribute of a value; null UIDs and modalities of some archives, numbers such as 3.0 of others.
        partial: None, or the sign of a series sent in part: "206", or "broken", without its last boundary.
        broken: instances; an answer that would hold one is the status that they are given, or ends the connection: 0.
        sends_all: False if a retrieval of a series, too, brings no more than ``cap``.
    """

    def __init__(self, held: Sequence[Dataset]) -> None:
        super().__init__()
        self.held = list(held)
        self.cap = self.window = 500
        self.heeds_offset = self.sends_all = True
        self.warns: Warns = "truly"
        self.partial: str | None = None
        self.broken: dict[str, int] = {}
        self.shuffles: random.Random | None = None
        self.states: Callable[[int], int | None] = lambda number: number
        self.nameless: frozenset[str] = frozenset()
        self.value: Callable[[str, object], dict[str, Any]] = _value
        self.asked: list[str] = []

    def __repr__(self) -> str:
        numbers = Counter((one.StudyInstanceUID[-4:], one.SeriesInstanceUID[-4:]) for one in self.held)
        told = {
            name: value
            for name, value in vars(self).items()
            if name not in ("held", "asked", "states", "value", "config")
        }
        return f"DicomWeb({dict(numbers)}, {told}, states {self.states(5)} of 5)"

    def session(self, *_: object) -> requests.Session:
        """Return a session whose every request comes here."""
        made = requests.Session()
        made.trust_env = False
        made.mount("http://", self)
        return made

    def send(self, request: Any, **_: Any) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(str(request.url))
        self.asked.append(str(request.url))
        path = [one for one in parts.path.split("/") if one][1:]
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if path[-1] in ("studies", "series", "instances"):
            place = (int(asked.get("offset", 0)), int(asked.get("limit", 500)))
            body, headers = self._list(path, *place, study=asked.get("StudyInstanceUID", ""))
        else:
            body, headers = self._multipart(path)
        response = requests.Response()
        response.status_code = 206 if self.partial == "206" and len(path) == 4 else 200
        if path[-1] not in ("studies", "series", "instances") and (broken := self._broken(path)) is not None:
            if broken == 0:
                raise requests.ConnectionError
            response.status_code = broken
        response.url, response.request = str(request.url), request
        response.headers.update(headers)
        response.raw = HTTPResponse(io.BytesIO(body), headers=headers, status=200, preload_content=False)
        return response

    def close(self) -> None:
        return

    def _list(self, path: Sequence[str], offset: int, limit: int, *, study: str = "") -> tuple[bytes, dict[str, str]]:
        answers = self._answers(path, study)
        if self.shuffles is not None:
            self.shuffles.shuffle(answers)
        start = offset if self.heeds_offset else 0
        page = answers[: self.window][start:][: min(limit, self.cap)]
        more = max(0, len(answers) - start - len(page))
        headers = {"Content-Type": "application/dicom+json"}
        if self.warns == "always" or (more and self.warns != "never"):
            number = f"are {more} additional" if self.warns == "with-number" else "are additional"
            headers["Warning"] = f"299 archive: There {number} results that can be requested"
        return json.dumps(page).encode(), headers

    def _answers(self, path: Sequence[str], study: str) -> list[dict[str, Any]]:
        own = [
            one
            for one in self.held
            if all(uid in (one.StudyInstanceUID, one.SeriesInstanceUID) for uid in path[1::2])
            and study in ("", one.StudyInstanceUID)
        ]
        keyword = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}[
            path[-1]
        ]
        found = []
        for uid in dict.fromkeys(str(one[keyword].value) for one in own):
            inside = [one for one in own if one[keyword].value == uid]
            series = len({one.SeriesInstanceUID for one in inside})
            answer = {"00080020": self.value("DA", "20200101"), "00080060": self.value("CS", inside[0].Modality)}
            if uid not in self.nameless:
                answer[f"{inside[0][keyword].tag:08X}"] = self.value("UI", uid)
            numbers = {
                "studies": (("00201206", series), ("00201208", len(inside))),
                "series": (("00201209", len(inside)),),
            }
            for tag, number in numbers.get(path[-1], ()):
                if (stated := self.states(number)) is not None:
                    answer[tag] = self.value("IS", stated)
            found.append(answer)
        return found

    def _broken(self, path: Sequence[str]) -> int | None:
        own = (one for one in self.held if one.SeriesInstanceUID == path[3] and path[5:] in ([], [one.SOPInstanceUID]))
        return next((self.broken[one.SOPInstanceUID] for one in own if one.SOPInstanceUID in self.broken), None)

    def _multipart(self, path: Sequence[str]) -> tuple[bytes, dict[str, str]]:
        own = [one for one in self.held if one.SeriesInstanceUID == path[3]]
        if len(path) == 6:
            own = [one for one in own if one.SOPInstanceUID == path[5]]
        sent = own if self.sends_all else own[: self.cap]
        body = b"".join(
            b"--" + _BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n" + as_bytes(one) + b"\r\n" for one in sent
        )
        if self.partial == "broken" and len(path) == 4:
            return body, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=B'}
        kind = 'multipart/related; type="application/dicom"; boundary=B'
        return body + b"--" + _BOUNDARY + b"--\r\n", {"Content-Type": kind}


def _value(vr: str, value: object) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
