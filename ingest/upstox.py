"""The vendor's REST API: authorise the feed, fetch the instrument master.

Owns URLs, headers and the meaning of HTTP answers. The token is sent in a header and appears
nowhere else: not in a URL, a log line or an error.
"""

from __future__ import annotations

from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

import aiohttp

from ingest.config import Settings
from sql.errors import AuthorizationError, FeedError

AUTHORIZE_PATH = "/v3/feed/market-data-feed/authorize"
DIRECT_PATH = "/v3/feed/market-data-feed"
MASTER_PATH = "/market-quote/instruments/exchange/{exchange}.json.gz"
MASTER_BYTES_MAX = 64 * 2**20  # the complete master is under 10 MB


def user_agent() -> str:
    """Name of this client: requests without one get 403 from the vendor's gateway."""
    return f"tickline/{version('tickline')}"


class UpstoxApi:
    """A REST session. Use it as an async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.http_timeout_s),
            headers={"User-Agent": user_agent(), "Accept": "application/json"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def bearer(self) -> dict[str, str]:
        """Headers that carry the token."""
        return {"Authorization": f"Bearer {self._settings.token().get_secret_value()}"}

    async def authorize(self) -> str:
        """Ask for a feed URI. It works once, within about a minute.

        Raises
        ------
        AuthorizationError
            401: the token is wrong or has expired.
        FeedError
            Any other refusal, or no answer.
        """
        url = f"{self._settings.api_url}{AUTHORIZE_PATH}"
        try:
            async with self._open().get(url, headers=self.bearer()) as response:
                if response.status != 200:
                    raise refused(response.status, await _error_code(response))
                data = (await response.json())["data"]
                return str(data.get("authorized_redirect_uri") or data["authorizedRedirectUri"])
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise FeedError(
                f"cannot reach {self._settings.api_url!r}: {exc or 'timed out'}: check the network and UPSTOX_API_URL"
            ) from exc
        except (KeyError, TypeError, ValueError) as exc:
            raise FeedError(f"answer of {url!r} is not understood: {exc!r}") from exc

    async def instrument_master(self, exchange: str) -> bytes:
        """Fetch the instrument master of an exchange (`NSE`, `BSE`, `complete`): gzip of JSON."""
        url = self._settings.assets_url + MASTER_PATH.format(exchange=exchange)
        try:
            async with self._open().get(url, auto_decompress=False) as response:
                if response.status != 200:
                    raise FeedError(f"instrument master {url!r} answered {response.status}: check UPSTOX_ASSETS_URL")
                return await response.content.read(MASTER_BYTES_MAX)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise FeedError(f"cannot fetch instrument master {url!r}: {exc or 'timed out'}") from exc

    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use `async with UpstoxApi(...)`"
        return self._session


def refused(status: int, code: str = "") -> FeedError:
    """Return the error that an HTTP status of the vendor means, with the remedy."""
    said = f"{status} {code}".strip()
    if status == 401:
        return AuthorizationError(
            f"access token refused ({said}): get a new one and set UPSTOX_ACCESS_TOKEN; tokens end at 03:30 IST"
        )
    if status == 403:
        return FeedError(
            f"feed refused ({said}): a feed URI was used twice, too many connections are open for this "
            "account, or it lacks the entitlement for this mode"
        )
    if status == 404:
        return FeedError(f"no such address ({said}): check UPSTOX_API_URL")
    if status == 429:
        return FeedError(f"too many requests ({said}): the vendor asks for a pause")
    return FeedError(f"the vendor answered {said}")


async def _error_code(response: aiohttp.ClientResponse) -> str:
    """Error code of the vendor's envelope, or nothing."""
    try:
        document: dict[str, Any] = await response.json(content_type=None)
        return str(document["errors"][0]["errorCode"])
    except (ValueError, KeyError, IndexError, TypeError, aiohttp.ClientError):
        return ""
