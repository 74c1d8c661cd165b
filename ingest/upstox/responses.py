"""HTTP responses of the vendor: read the body within a limit, parse JSON, turn a status into an error.

Owns the error texts. No error repeats what was received, which may be a token or a code. Must not know what was
requested.
"""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
from yarl import URL

from ingest.errors import AuthorizationError, FeedError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
BODY_PIECE_BYTES = 2**16
ERROR_BYTES_MAX = 2**16  # the envelope of an error is some hundred bytes
ERROR_CODE = re.compile(r"[A-Z]{2,12}[0-9]{1,12}")  # "UDAPI100060"; any other text is not repeated


def shown(url: str | URL) -> str:
    """Return an address for an error text: without its query, which lists up to 500 keys."""
    return str(url).partition("?")[0]


def reason(exc: Exception) -> str:
    """Return why there was no answer, without what was received: it may contain a secret."""
    if isinstance(exc, TimeoutError):
        return "timed out"
    if isinstance(exc, OSError):
        return str(exc) or type(exc).__name__
    return f"the answer is broken ({type(exc).__name__})"


async def body_of(response: aiohttp.ClientResponse, bytes_max: int, setting: str) -> bytearray:
    """Return a whole body, in however many pieces it arrives; stop reading one that is too long.

    Raises
    ------
    FeedError
        If it is longer than `bytes_max`.
    """
    body = bytearray()
    async for piece in response.content.iter_chunked(BODY_PIECE_BYTES):
        body += piece
        if len(body) > bytes_max:
            raise FeedError(f"answer of {str(response.url.origin())!r} is larger than {bytes_max} bytes: see {setting}")
    return body


async def json_of(response: aiohttp.ClientResponse, bytes_max: int) -> Any:
    """Return the value of a JSON answer, whatever content type it declares.

    Raises
    ------
    FeedError
        If it is longer than `bytes_max`, or is not JSON.
    """
    body = await body_of(response, bytes_max, "TICKLINE_ANSWER_BYTES_MAX")
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # may contain the body, and so a token or a code
        raise FeedError(f"answer of {str(response.url.origin())!r} is not understood: it is no JSON") from None


def _no_constant(text: str) -> Any:
    """Reject NaN and Infinity, which Python accepts but JSON does not allow."""
    raise ValueError(text)


def refused(status: int, code: str = "") -> FeedError:
    """Return the error that an HTTP status of the vendor means, with the remedy."""
    said = f"{status} {code}".strip()
    if status == 401:
        return AuthorizationError(
            f"access token refused ({said}): get a new one with `tickline login`, or set UPSTOX_ACCESS_TOKEN; "
            "tokens end at 03:30 IST",
            status,
        )
    if status == 403:
        return FeedError(
            f"feed refused ({said}): a feed URI was used twice, too many connections are open for this "
            "account, or it lacks the entitlement for this mode",
            status,
        )
    if status == 404:
        return FeedError(f"no such address ({said}): check UPSTOX_API_URL", status)
    if status == 429:
        return FeedError(f"too many requests ({said}): the vendor asks for a pause", status)
    if status in REDIRECTS:
        return FeedError(
            f"the vendor answered with a redirect ({said}), which is not followed with a secret: check UPSTOX_API_URL",
            status,
        )
    return FeedError(f"the vendor answered {said}", status)


def login_refused(status: int, code: str) -> FeedError:
    """Return the error that an HTTP status of the login means, with the remedy."""
    if status in REDIRECTS:
        return refused(status, code)
    said = f"{status} {code}".strip()
    return FeedError(f"login refused ({said}): check key, secret and redirect URI, and log in again", status)


async def error_code(response: aiohttp.ClientResponse) -> str:
    """Return the error code of the vendor's envelope; "" if there is none."""
    try:
        document = await json_of(response, ERROR_BYTES_MAX)
        code = str(document["errors"][0]["errorCode"])
        return code if ERROR_CODE.fullmatch(code) else ""
    except (FeedError, ValueError, KeyError, IndexError, TypeError, aiohttp.ClientError):
        return ""
