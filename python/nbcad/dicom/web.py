"""A study from a DICOMweb service, and the report's objects back to it (DICOM PS3.18: QIDO-RS, WADO-RS, STOW-RS)."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import responses
from pathlib import Path

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from nbcad.dicom.refusal import MALFORMED, one_line
from nbcad.errors import InputError, NbcadError, OutputError
from nbcad.runtime.files import telling_no_space
from nbcad.runtime.progress import progress

TOKEN, USER, PASSWORD = "NBCAD_DICOMWEB_TOKEN", "NBCAD_DICOMWEB_USER", "NBCAD_DICOMWEB_PASSWORD"
_SECONDS = 60  # to connect, and between two pieces of an answer: an archive may have to fetch a study from tape
# A service that is busy is asked again; one that is not there, or does not answer, is not.
_RETRY = Retry(3, connect=0, read=0, status_forcelist=(429, 502, 503, 504), backoff_factor=0.5, raise_on_status=False)
_SAID: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: f"wants other credentials; set {TOKEN}, or {USER} and {PASSWORD}",
    HTTPStatus.FORBIDDEN: "forbids it to these credentials; let its administrator allow it",
    HTTPStatus.NOT_FOUND: "knows nothing of it; give the root of its DICOMweb services and a study that it has",
}
# PS3.18 I.2.2, and the classes of status that PS3.4 B.2.3 has for C-STORE.
_FAILURES = {
    0x0110: "processing failure",
    0x0122: "SOP class not supported",
    0xA700: "out of resources",
    0xA900: "data set does not match its SOP class",
    0xC000: "not understood",
    0xC122: "transfer syntax not supported",
}


class Service:
    """A DICOMweb service, asked in the name of the credentials in the environment, if there are any."""

    def __init__(self, url: str):
        """
        Args:
            url: root of its services, as `cli.service_url` returns it.

        Raises:
            InputError: the environment holds half of the credentials, two kinds of them, or no sound ones.
        """
        self.url = url
        session = requests.Session()
        session.auth = _credentials()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=_RETRY))
        self._client = DICOMwebClient(
            self.url,
            session,
            headers={"Accept": "application/dicom+json"},  # for answers to STOW-RS; the others ask for their own
            callback=_without_parameters,
            timeout=_SECONDS,
        )
        self._client.set_http_retry_params(retry=False)  # it would also ask again where no server is, for 30 s

    def study(self, study_uid: str) -> str:
        """Address of a study; that of each of its objects starts so (PS3.18 10.1)."""
        return f"{self.url}/studies/{study_uid}"

    def fetch(self, study_uid: str, folder: Path) -> None:
        """Write all objects of a study below ``folder``, as ``series/UID/instances/UID``; memory holds one at a time.

        Raises:
            InputError: there is no such service or study, or it does not give all of it.
            OutputError: there is no space.
        """
        objects = self._objects(study_uid)
        with progress(total=len(objects), desc="fetch", unit="object") as bar:
            for number, (sop_uid, series_uid) in enumerate(objects.items(), start=1):
                what = f"object {number} of {len(objects)} of study {study_uid}"
                with self._telling(InputError, what, "; half a study is not analysed"):
                    dataset = self._client.retrieve_instance(study_uid, series_uid, sop_uid)
                    given = dataset.file_meta.MediaStorageSOPInstanceUID
                if given != sop_uid:
                    raise InputError(f"{self.url} gives {given} for {sop_uid}, {what}")
                path = folder / "series" / series_uid / "instances" / sop_uid
                with telling_no_space(OutputError, folder, "name a larger folder in TMPDIR"):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    dcmwrite(path, dataset)
                bar.update()

    def _objects(self, study_uid: str) -> dict[str, str]:
        """Return the SeriesInstanceUID of each object of a study, by SOPInstanceUID."""
        with self._telling(InputError, f"the search for study {study_uid}"):
            filters = {"StudyInstanceUID": study_uid}
            studies = self._client.search_for_studies(search_filters=filters, fields=["NumberOfStudyRelatedInstances"])
            counts = [
                int(_value(study, "NumberOfStudyRelatedInstances", "0"))
                for study in studies
                if _value(study, "StudyInstanceUID", "") == study_uid
            ]
        if not counts:
            raise InputError(f"{self.url} has no study {study_uid}; check --study")
        objects: dict[str, str] = {}
        with self._telling(InputError, f"the search for objects of study {study_uid}"):
            while new := self._page(study_uid, len(objects)).items() - objects.items():
                objects |= dict(sorted(new))
        if len(objects) < max(1, *counts):
            raise InputError(
                f"{self.url} lists {len(objects)} of the {counts[0]} objects of study {study_uid}; "
                "half a study is not analysed, try again when it has all"
            )
        return objects

    def _page(self, study_uid: str, offset: int) -> dict[str, str]:
        """Return a service's list from ``offset`` on; the service may end it anywhere (PS3.18 8.3.4.4)."""
        found = self._client.search_for_instances(study_uid, offset=offset)
        return {_value(entry, "SOPInstanceUID"): _value(entry, "SeriesInstanceUID") for entry in found}

    def store(self, paths: list[Path]) -> int:
        """Send objects, one a request, so that each is in memory by itself and has an answer of its own.

        Returns:
            How many: all of them.

        Raises:
            OutputError: some or all are not taken; the message says how many and why.
        """
        reasons: list[str] = []
        for number, path in enumerate(paths):
            with self._telling(OutputError, f"object {number + 1} of {len(paths)} ({path})"):
                reasons += self._refusal(path)
        if reasons:
            raise OutputError(
                f"{self.url} refuses {len(reasons)} of {len(paths)} objects: {', '.join(sorted(set(reasons)))}; "
                f"they are in {paths[0].parent}"
            )
        return len(paths)

    def _refusal(self, path: Path) -> list[str]:
        """Return why the service refused an object, or an empty string."""
        dataset = dcmread(path)
        try:
            answer = self._client.store_instances([dataset])
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != HTTPStatus.CONFLICT:
                raise
            answer = Dataset.from_json(error.response.json())
        stored = [item.ReferencedSOPInstanceUID for item in answer.get("ReferencedSOPSequence", [])]
        if dataset.SOPInstanceUID in stored:
            return []
        reasons = [item.get("FailureReason") for item in answer.get("FailedSOPSequence", [])]
        return [_failure(reasons[0]) if reasons and reasons[0] else "no reason given"]

    @contextmanager
    def _telling(self, error: type[NbcadError], what: str, remedy: str = "") -> Iterator[None]:
        """Raise ``error`` in place of all that goes wrong between us and the service."""
        try:
            yield
        except requests.HTTPError as failure:
            assert failure.response is not None  # it is what `Response.raise_for_status` raises
            status = failure.response.status_code
            reason = f"answers {status} {responses.get(status, '')} to {what}: it {_SAID.get(status, 'does not do it')}"
        except requests.exceptions.SSLError:
            reason = "has a certificate that is not trusted; name the file of those to trust in REQUESTS_CA_BUNDLE"
        except requests.Timeout:
            reason = f"does not answer within {_SECONDS} s to {what}; try again later"
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            reason = f"cannot be reached, or broke off at {what}; check the address and that the service runs"
        except MALFORMED as failure:
            reason = f"answers to {what} by what is not DICOMweb: {one_line(failure)}"
        else:
            return
        raise error(f"{self.url} {reason}{remedy}")


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str):
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authenticates as nobody; without it, requests would look into ~/.netrc for somebody."""
    return request


def _credentials() -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    token, user, password = (os.environ.get(name, "") for name in (TOKEN, USER, PASSWORD))
    if bool(user) != bool(password) or (token and user):
        raise InputError(f"set {TOKEN}, or both {USER} and {PASSWORD}, or none of them")
    if token and not all("!" <= character <= "~" for character in token):  # requests would print it, in refusing it
        raise InputError(f"{TOKEN} holds a blank or a letter that no token has; set it again")
    if token:
        return _Bearer(token)
    return requests.auth.HTTPBasicAuth(user.encode(), password.encode()) if user else _nobody


def _without_parameters(response: requests.Response, **_: object) -> requests.Response:
    """Takes the charset off an answer's media type, with which dicomweb-client does not know it."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type.endswith(("json", "xml")):
        response.headers["Content-Type"] = media_type
    return response


def _value(entry: dict, keyword: str, *default: str) -> str:
    """First value of an element in DICOM JSON (PS3.18 F.2).

    Raises:
        LookupError: it is empty or not there, and no default is given.
    """
    values = entry.get(f"{tag_for_keyword(keyword):08X}", {}).get("Value") or [*default]
    return values[0]


def _failure(code: int) -> str:
    known = next((_FAILURES[of] for of in (code, code & 0xFF00, code & 0xF000) if of in _FAILURES), "")
    return f"0x{code:04X}" + (f" {known}" if known else "")
