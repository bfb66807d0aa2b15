"""Query an archive over DICOMweb: QIDO-RS by pages and WADO-RS (PS3.18 10.6, 10.4).

The session follows no redirect, reads no proxy or ``.netrc`` from the environment, and verifies the archive's
certificate. Credentials are sent to one host over TLS, or to this machine itself.
"""

from __future__ import annotations

import logging
import stat
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from dicomweb_client.web import DICOMwebClient

from fedward.dicom.header import quiet
from fedward.errors import CohortError, FedwardError, StudyError
from fedward.hosts import is_loopback
from fedward.indexing.pacs.archive import (
    CutShortError,
    Instance,
    Receive,
    Series,
    SilentArchiveError,
    Study,
    find_keys,
    studies_cut_short,
)
from fedward.indexing.pacs.listing import pages
from fedward.indexing.pacs.listing.body import Body
from fedward.indexing.pacs.listing.dicom_json import count, first, keywords, values
from fedward.indexing.pacs.listing.matching import unlike
from fedward.indexing.pacs.listing.warning import announced, remark
from fedward.settings import Pacs

PAGES = (200, 100, 50)
"""Answers that a page is asked for: some archives allow no more than 200, and answer a larger number with HTTP 400."""
_AS_STORED = (("application/dicom", "*"),)
"""Any transfer syntax, so that the archive sends each instance as stored (PS3.18 8.7.3)."""
_STUDY_UID = "StudyInstanceUID"
_STUDY_NUMBERS = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")
_SERIES_NUMBER = "NumberOfSeriesRelatedInstances"
_Answer = TypeVar("_Answer")


class WebArchive:
    """Archive for ``protocol = "dicomweb"``."""

    def __init__(self, pacs: Pacs) -> None:
        self._pacs, self._keys, self._url = pacs, find_keys(pacs), str(pacs.url)
        self._session = session(pacs)
        self._session.hooks["response"].append(self._note)
        self._page, self._remark = PAGES[0], ""
        self._announced: int | None = 0
        self._body = Body()
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL + 1)  # it logs the archive's own words
        self._client = DICOMwebClient(self._url.rstrip("/"), session=self._session, timeout=pacs.timeout_s)
        self._client.host = urlsplit(self._url).netloc  # its Host header would lack the port (RFC 9110 7.2)
        self._client.set_http_retry_params(retry=False)

    def studies(self, *, limit: int | None = None) -> list[Study]:
        filters = {keyword: value for keyword, value in self._keys.items() if value}
        fields = [*self._keys, *_STUDY_NUMBERS]
        try:
            search = self._client.search_for_studies
            return self._listed(
                _STUDY_UID, search, lambda one: _study(one, filters), filters, fields=fields, limit=limit
            )
        except CutShortError as short:
            raise studies_cut_short(self._pacs, len(short.answers)) from None
        except StudyError as refusal:
            remedy = "see its log; url must be the root of its DICOMweb service, query hold keys that it searches by"
            if refusal.detail == "HTTP 413":
                remedy = "narrow query in site.toml: it matches more than the archive sends"
            raise CohortError(
                "archive refused the question", where=self._url, value=refusal.detail, remedy=remedy
            ) from None

    def series(self, study: str) -> list[Series]:
        fields = ["SeriesInstanceUID", "Modality", _SERIES_NUMBER]

        def read(one: Mapping[str, Any]) -> Series:
            return Series(study, first(one, fields[0]), first(one, fields[1]).upper(), count(one, _SERIES_NUMBER))

        return self._listed(fields[0], self._client.search_for_series, read, fields=fields, study_instance_uid=study)

    def instances(self, series: Series) -> list[Instance]:
        place: dict[str, Any] = {"study_instance_uid": series.study, "series_instance_uid": series.uid}
        fields = ["SOPInstanceUID", "SOPClassUID"]

        def read(one: Mapping[str, Any]) -> Instance:
            return Instance(first(one, fields[0]), first(one, fields[1]))

        return self._listed(fields[0], self._client.search_for_instances, read, fields=fields, **place)

    def retrieve(self, series: Series, wanted: Sequence[Instance], receive: Receive, *, alone: bool) -> int:
        if not alone:
            with self._answering(), quiet():
                for sent in self._client.iter_series(series.study, series.uid, media_types=_AS_STORED):
                    receive(sent)
            return int(self._body.partial)
        refusal: StudyError | None = None
        for one in wanted:
            try:
                with self._answering(), quiet():
                    receive(self._client.retrieve_instance(series.study, series.uid, one.uid, media_types=_AS_STORED))
            except StudyError as refused:
                refusal = refusal or refused
        if refusal is not None:
            raise refusal
        return 0

    def close(self) -> None:
        self._session.close()

    def _listed(
        self,
        level: str,
        search: Any,
        read: Callable[[Mapping[str, Any]], _Answer],
        filters: Mapping[str, str] | None = None,
        *,
        limit: int | None = None,
        **asked: Any,
    ) -> list[_Answer]:
        """Return all answers of a search, or the first ``limit``. Raises ``CutShortError`` if there may be more."""

        def ask(offset: int) -> pages.Page[dict[str, Any]]:
            size = limit or self._page
            try:
                return self._ask(level, search, dict(filters or {}), limit=size, offset=offset, **asked)
            except StudyError as refusal:
                if offset and refusal.detail == "HTTP 404":  # some say so of a page past the end
                    return pages.Page([])
                smaller = [one for one in PAGES if one < size]
                if limit or offset or not smaller or refusal.detail != "HTTP 400":
                    raise
                self._page = smaller[0]
            try:
                return ask(offset)
            except StudyError:
                self._page = size
                raise

        listed = (
            pages.Reading([one for _, one in ask(0).answers], lacking=0)
            if limit is not None
            else pages.read(ask, limit=self._page)
        )
        with self._answering():
            answers = [read(one) for one in listed.answers]
        if listed.lacking != 0 and not (
            level == _STUDY_UID and listed.ended and self._warns_of_nothing(listed.answers)
        ):
            raise CutShortError(detail=f"after {len(answers)} answers", answers=answers, missing=listed.lacking)
        return answers

    def _ask(self, level: str, search: Any, filters: dict[str, str], **asked: Any) -> pages.Page[dict[str, Any]]:
        self._announced, self._remark = 0, ""
        with self._answering():
            found = search(search_filters=filters, **asked)
            return pages.Page([(first(one, level), one) for one in found], self._announced, self._remark)

    def _warns_of_nothing(self, studies: Sequence[Mapping[str, Any]]) -> bool:
        """True if the archive warns of more even where there is none: it finds one study by its UID, and warns."""
        uid = next((found for one in studies if (found := first(one, _STUDY_UID))), None)
        if uid is None:
            return False
        self._announced = 0
        with self._answering():
            found = self._client.search_for_studies(search_filters={_STUDY_UID: uid}, limit=self._page, offset=0)
            return self._announced != 0 and [first(one, _STUDY_UID) for one in found] == [uid]

    def _note(self, response: requests.Response, **_: Any) -> None:
        """Note a response's end, and the number of further answers that it announces: the client only logs those."""
        self._body = Body(response)
        said = response.headers.get("Warning", "")
        self._announced, self._remark = announced(response.status_code, said), remark(response.status_code, said)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn exceptions of the HTTP library into errors with a remedy."""
        try:
            yield
        except FedwardError:
            raise
        except ValueError as fault:  # not JSON, or not a valid address
            raise StudyError("archive-refused", f"answer cannot be read: {type(fault).__name__}") from None
        except requests.exceptions.SSLError:
            remedy = "name the authority that signed it as ca in site.toml, or correct the host in url"
            raise CohortError("archive's certificate is not trusted", where=self._url, remedy=remedy) from None
        except requests.exceptions.TooManyRedirects:
            remedy = "write the address that it redirects to as url, if that is the archive's own"
            raise CohortError("archive redirects elsewhere", where=self._url, remedy=remedy) from None
        except requests.exceptions.HTTPError as error:
            raise self._refusal(error.response.status_code if error.response is not None else 0) from None
        except requests.exceptions.Timeout:
            remedy = "correct url in site.toml, or have the firewall let us through"
            raise SilentArchiveError("no answer from there", where=self._url, remedy=remedy) from None
        except (requests.exceptions.RequestException, OSError):
            remedy = "correct url in site.toml, or start the archive; then run the same command again"
            raise SilentArchiveError("archive cannot be reached, or hung up", where=self._url, remedy=remedy) from None
        except Exception as fault:  # noqa: BLE001 - an answer that the library cannot read; its message may quote it
            raise StudyError("archive-refused", f"answer cannot be read: {type(fault).__name__}") from None

    def _refusal(self, status: int) -> CohortError:
        if status in (401, 403, 407):
            remedy = "correct the file that credentials names in site.toml, or have that user allowed to read"
            return CohortError("archive does not let us in", where=self._url, value=f"HTTP {status}", remedy=remedy)
        if status in (429, 502, 503, 504):
            return SilentArchiveError(
                "archive is too busy", where=self._url, value=f"HTTP {status}", remedy="try again later"
            )
        return StudyError("archive-refused", f"HTTP {status}")


def session(pacs: Pacs) -> requests.Session:
    """Build an HTTP session that sends the credentials to the archive only.

    Raises:
        CohortError: credentials that others may read, that are invalid, or that would cross the network in clear; a
            ``ca`` that cannot be read.
    """
    made = requests.Session()
    made.trust_env, made.max_redirects = False, 0
    if pacs.ca is not None:
        if not pacs.ca.is_file():
            raise CohortError("no such file", where=pacs.ca, remedy="correct ca in site.toml")
        made.verify = str(pacs.ca)
    if pacs.credentials is not None:
        place = urlsplit(str(pacs.url))
        if place.scheme != "https" and not is_loopback(place.hostname or ""):
            raise CohortError("credentials would go in clear", where=pacs.url, remedy="give an https url")
        made.headers["Authorization"] = read_credentials(pacs.credentials)
    return made


def read_credentials(path: Path) -> str:
    """Return the value of the Authorization header from a file with ``user:password`` or ``Bearer TOKEN``.

    Raises:
        CohortError: no such file, one that others may read, or one that holds neither.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise CohortError("others may read the credentials", where=path, value=oct(mode), remedy="chmod 600 it")
        content = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        remedy = "correct credentials in site.toml"
        raise CohortError("credentials cannot be read", where=path, value=reason, remedy=remedy) from None
    one_line = content.isprintable()
    if one_line and content.startswith("Bearer ") and len(content.split()) == 2 and content.isascii():
        return content
    if one_line and ":" in content and not content.startswith("Bearer "):
        return f"Basic {b64encode(content.encode()).decode()}"
    raise CohortError("no credentials in here", where=path, remedy="write user:password or Bearer TOKEN, on one line")


def _study(answer: Mapping[str, Any], keys: Mapping[str, str]) -> Study:
    answered = keywords(answer)
    series, instances = (count(answer, keyword) for keyword in _STUDY_NUMBERS)
    return Study(
        first(answer, _STUDY_UID),
        answered,
        series=series,
        instances=instances,
        unlike=unlike(keys, lambda keyword: values(answer, keyword)),
        empty=frozenset(keyword for keyword in answered if not values(answer, keyword)),
    )
