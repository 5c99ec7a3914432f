"""Openly licensed photographs from Openverse, politely: https://api.openverse.org/v1/, GET images/.

Its documented parameters are q, license, license_type, category, page and page_size; without an account a page has at
most 20 results, a search at most 240, and there may be 20 requests a minute and 200 a day.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import logging
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import colorize

log = logging.getLogger(__name__)

API = "https://api.openverse.org/v1/"
LICENSES = ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd", "cc0", "pdm", "sampling+", "nc-sampling+")
TYPES = ("all", "all-cc", "commercial", "modification")
PAGE_SIZE = 20
_REDIRECTS = 5
_RETRIES = 4  # after 1, 2, 4 and 8 times the usual wait, at least seconds
_LONGEST = 300  # seconds that are waited where a server asks for it; for more it is better to come back
_TIMEOUT = 30
_JSON_BYTES = 5_000_000


class FetchError(ValueError):
    """A URL gave nothing: one line that names it.

    Attributes:
        status: HTTP's, or None where there was no answer.
        lasting: whether it is of no use to ask again.
    """

    def __init__(self, message: str, status: int | None = None, lasting: bool = False):
        super().__init__(message)
        self.status, self.lasting = status, lasting


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str) -> None:
    if urllib.parse.urlsplit(url).scheme.lower() not in ("http", "https"):
        raise FetchError(f"{url}: only http and https are followed", lasting=True)


class Client:
    """Fetches one thing after another: never two at once, and ``wait`` seconds apart.

    Args:
        wait: seconds between two requests.
    """

    def __init__(self, wait: float):
        self.wait = wait
        self._free = 0.0  # when the next request may be made, on the monotonic clock
        self._opener = urllib.request.OpenerDirector()  # what build_opener makes also opens files and ftp
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler,
            urllib.request.HTTPErrorProcessor,
            urllib.request.UnknownHandler,
            _Redirects,
        ):
            self._opener.add_handler(handler())

    def get(self, url: str, max_bytes: int) -> bytes:
        """What is at a URL; tried again after 429, 5xx and broken connections.

        Raises:
            FetchError: it does not answer, refuses, is larger than ``max_bytes`` or redirects elsewhere than to http.
        """
        _check_scheme(url)
        for attempt in range(_RETRIES + 1):
            pause = max(0.0, self._free - time.monotonic())
            if pause:
                time.sleep(pause)
            try:
                return self._once(url, max_bytes)
            except urllib.error.HTTPError as error:
                if error.code == 429:
                    delay, why = _retry_after(error.headers), "429, too many requests"
                elif error.code >= 500:
                    delay, why = None, f"{error.code}"
                else:
                    raise FetchError(f"{url}: {_said(error)}", error.code, lasting=True) from error
                status: int | None = error.code
            except FetchError:
                raise
            except (OSError, http.client.HTTPException, ValueError) as error:
                if isinstance(error, ValueError | http.client.InvalidURL):
                    raise FetchError(f"{url}: no URL ({error})", lasting=True) from error
                delay, why, status = None, _flat(getattr(error, "reason", None) or error), None
            finally:
                self._free = time.monotonic() + self.wait
            if delay is not None and delay > _LONGEST:
                raise FetchError(f"{url}: {why}; it asks to come back in {delay / 60:.0f} minutes", status)
            if attempt == _RETRIES:
                raise FetchError(f"{url}: {why}; given up after {_RETRIES + 1} attempts", status)
            time.sleep(max(1.0, self.wait) * 2**attempt if delay is None else delay)
        raise AssertionError

    def _once(self, url: str, max_bytes: int) -> bytes:
        # HTTP asks for an address in ASCII, and results hold some that are not.
        ascii_url = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
        headers = {"User-Agent": f"colorize/{colorize.__version__} (collects a set of openly licensed photographs)"}
        request = urllib.request.Request(ascii_url, headers=headers)
        with self._opener.open(request, timeout=_TIMEOUT) as response:
            length = response.headers.get("Content-Length", "")
            expected = int(length) if length.isdecimal() else None
            if expected is not None and expected > max_bytes:
                raise FetchError(f"{url}: {expected} bytes are more than {max_bytes}", lasting=True)
            content = response.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise FetchError(f"{url}: more than {max_bytes} bytes", lasting=True)
        if expected is not None and len(content) < expected:
            raise http.client.IncompleteRead(content, expected - len(content))
        return content


def search(client: Client, api: str, query: str, license: str | None, license_type: str | None) -> Iterator[dict]:
    """Results of a search for photographs, page by page.

    Raises:
        FetchError: the API refuses, does not answer or answers something else.
    """
    filters = {"license": license, "license_type": license_type}
    settings = {"q": query, **{key: value for key, value in filters.items() if value}, "category": "photograph"}
    page = pages = 1
    while page <= pages:
        asked = urllib.parse.urlencode({**settings, "page": page, "page_size": PAGE_SIZE})
        url = f"{api.rstrip('/')}/images/?{asked}"
        try:
            answer = client.get(url, _JSON_BYTES)
        except FetchError as error:
            if page > 1 and error.status in (400, 401, 404):  # beyond what a search without an account may see
                return
            raise
        try:
            found = json.loads(answer)
            pages, results = int(found["page_count"]), list(found["results"])
        except (ValueError, KeyError, TypeError) as error:
            raise FetchError(f"{url}: what it answers is no result of a search: check api=") from error
        yield from (result for result in results if isinstance(result, dict))
        page += 1


def allowed(license: str, licenses: str | None, types: str | None) -> bool:
    """Whether a result's license is among those asked for, should the server not have seen to that."""
    if license not in LICENSES or (licenses and license not in licenses.split(",")):
        return False
    refused = {"commercial": "nc", "modification": "nd"}
    return not any(refused.get(kind, "?") in re.split(r"[-+]", license) for kind in (types or "").split(","))


def _retry_after(headers: Any) -> float | None:
    """Seconds, from a number or a date."""
    value = (headers.get("Retry-After") or "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _said(error: urllib.error.HTTPError) -> str:
    """The status, and the API's own word for it."""
    try:
        detail = json.loads(error.read(10_000)).get("detail", "")
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        detail = ""
    return f"{error.code} {_flat(detail) if detail else _flat(error.reason)}"[:300]


def _flat(text: object) -> str:
    return " ".join(str(text).split())
