"""Client of the vendor's REST API: authorise the feed, fetch the instrument master, request minute bars.

Owns URLs, headers, the rate of requests and the meaning of HTTP answers. The token is sent in a header and appears
nowhere else: not in a URL, a log line or an error.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from ingest.addresses import feed_uri, redirected
from ingest.backoff import backoff_s
from ingest.errors import FeedError
from ingest.settings import Settings
from ingest.time_source import TimeSource
from ingest.upstox.answers import Candle, parse_candles, parse_prices, parse_quotes
from ingest.upstox.rate_limit import Limiter
from ingest.upstox.responses import REDIRECTS, body_of, error_code, json_of, login_refused, reason, refused, shown
from ingest.upstox.tokens import Tokens

AUTHORIZE_PATH = "/v3/feed/market-data-feed/authorize"
LOGIN_PATH = "/v2/login/authorization/token"
DIRECT_PATH = "/v3/feed/market-data-feed"
MASTER_PATH = "/market-quote/instruments/exchange/{exchange}.json.gz"
INTRADAY_PATH = "/v3/historical-candle/intraday/{key}/minutes/1"
HISTORICAL_PATH = "/v3/historical-candle/{key}/minutes/1/{last}/{first}"
QUOTES_PATH = "/v3/market-quote/ohlc"
PRICES_PATH = "/v3/market-quote/ltp"
HOLIDAYS_PATH = "/v2/market/holidays"
TIMINGS_PATH = "/v2/market/timings/{day}"
QUOTES_KEYS_MAX = 500
HISTORICAL_DAYS_MAX = 28  # at most a month per call, and the shortest month has 28 days
HOPS_MAX = 3  # redirects in a row; a content network makes one
TRIES_MAX = 4  # for a request that the vendor is too busy for, or does not answer

T = TypeVar("T")

log = logging.getLogger(__name__)
_limiter = Limiter()  # of the process: the vendor counts per user


def chunks(keys: Sequence[str], batch_keys: int) -> Iterator[Sequence[str]]:
    """Cut keys into the lists of one request each."""
    for start in range(0, len(keys), batch_keys):
        yield keys[start : start + batch_keys]


def user_agent() -> str:
    """Return the name of this client: requests without one get 403 from the vendor's gateway."""
    return f"tickline/{version('tickline')}"


class UpstoxApi:
    """A REST session. Use it as an async context manager."""

    def __init__(self, settings: Settings, time_source: TimeSource | None = None) -> None:
        self._settings = settings
        self.time_source = time_source or TimeSource()
        self._tokens: Tokens | None = None
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

    @property
    def tokens(self) -> Tokens:
        """The access tokens, read at first use: requests that need none work without a token."""
        if self._tokens is None:
            self._tokens = Tokens(self._settings, self.time_source)
        return self._tokens

    def bearer(self) -> dict[str, str]:
        """Return the headers that carry the token."""
        return {"Authorization": f"Bearer {self.tokens.current()}"}

    async def authorize(self) -> str:
        """Ask for a feed URI. It works once, within about a minute.

        Raises
        ------
        AuthorizationError
            401: the token is wrong or has expired.
        FeedError
            Any other refusal, or no answer.
        """
        token = ""

        def headers() -> dict[str, str]:
            nonlocal token
            token = self.tokens.current()
            return self.bearer()

        def refusal(status: int, code: str) -> FeedError:
            if status == 401:
                self.tokens.refuse(token)
            return refused(status, code)

        async def read(response: aiohttp.ClientResponse) -> str:
            data = (await self._json(response))["data"]
            return feed_uri(str(data.get("authorized_redirect_uri") or data["authorizedRedirectUri"]))

        url = self._settings.api_url + AUTHORIZE_PATH  # the connection has its own retries and waits
        return await self._asked(url, read, headers=headers, refusal=refusal, tries=1)

    async def login(self, code: str, redirect_uri: str) -> str:
        """Turn the code of the login dialog into an access token; it works once.

        Raises
        ------
        FeedError
            If the vendor refuses it, or does not answer.
        """
        config = self._settings
        assert config.upstox_api_key and config.upstox_api_secret
        form = {
            "code": code,
            "client_id": config.upstox_api_key.get_secret_value(),
            "client_secret": config.upstox_api_secret.get_secret_value(),
            "redirect_uri": redirect_uri,
            "grant_type": "authorization_code",
        }

        async def read(response: aiohttp.ClientResponse) -> str:
            return str((await self._json(response))["access_token"])

        within_s = config.http_timeout_s
        return await self._asked(config.api_url + LOGIN_PATH, read, form=form, refusal=login_refused, within_s=within_s)

    async def market_holidays(self) -> list[dict[str, Any]]:
        """Fetch this year's holidays and special sessions: rows of date, holiday_type, closed and open exchanges.

        Raises
        ------
        FeedError
            If there is no usable answer.
        """
        return await self._rows(HOLIDAYS_PATH)

    async def market_timings(self, day: date) -> list[dict[str, Any]]:
        """Fetch the hours of a day: rows of exchange, start_time, end_time (epoch ms); none on a holiday.

        Raises
        ------
        FeedError
            If there is no usable answer.
        """
        return await self._rows(TIMINGS_PATH.format(day=day))

    async def _rows(self, path: str) -> list[dict[str, Any]]:
        """Get an array of objects; these paths need no token."""

        async def read(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
            rows = (await self._json(response))["data"]
            if not isinstance(rows, list):
                raise TypeError("no array")
            return rows

        config = self._settings
        return await self._asked(config.api_url + path, read, within_s=config.http_timeout_s)

    async def instrument_master(self, exchange: str) -> bytearray:
        """Fetch the instrument master of an exchange (`NSE`, `BSE`, `complete`): gzip of JSON.

        Raises
        ------
        FeedError
            If it is refused, too large, silent for `TICKLINE_HTTP_TIMEOUT_S`, or not there in
            `TICKLINE_MASTER_TIMEOUT_S`.
        """
        config = self._settings
        url = config.assets_url + MASTER_PATH.format(exchange=exchange)
        silent_s = min(config.http_timeout_s, config.master_timeout_s)
        timeout = aiohttp.ClientTimeout(total=config.master_timeout_s, connect=silent_s, sock_read=silent_s)

        def refusal(status: int, _: str) -> FeedError:
            return FeedError(f"instrument master {url!r} answered {status}: check UPSTOX_ASSETS_URL", status)

        async def read(response: aiohttp.ClientResponse) -> bytearray:
            return await body_of(response, config.master_bytes_max, "TICKLINE_MASTER_BYTES_MAX")

        return await self._asked(url, read, refusal=refusal, within_s=silent_s, auto_decompress=False, timeout=timeout)

    async def minute_quotes(self, keys: Sequence[str]) -> dict[str, Candle]:
        """Ask for the last completed minute of up to 500 keys; those that have none are left out.

        Raises
        ------
        FeedError
            If the vendor refuses, does not answer, or answers what is not understood.
        """
        assert len(keys) <= QUOTES_KEYS_MAX, len(keys)
        return parse_quotes(
            await self._ask(f"{QUOTES_PATH}?instrument_key={quote(','.join(keys), safe='')}&interval=I1")
        )

    async def last_prices(self, keys: Sequence[str]) -> dict[str, float]:
        """Ask for the last price of up to 500 keys, rupees; those that have none are left out. Raises as above."""
        assert len(keys) <= QUOTES_KEYS_MAX, len(keys)
        return parse_prices(await self._ask(f"{PRICES_PATH}?instrument_key={quote(','.join(keys), safe='')}"))

    async def intraday_candles(self, key: str) -> list[Candle]:
        """Ask for today's minute bars of one key, oldest first; they are 2 to 3 minutes late. Raises as above."""
        return parse_candles(await self._ask(INTRADAY_PATH.format(key=quote(key, safe=""))))

    async def historical_candles(self, key: str, first: date, last: date) -> list[Candle]:
        """Ask for the minute bars of past days, both inclusive, at most 28; oldest first. Raises as above."""
        assert 0 <= (last - first).days < HISTORICAL_DAYS_MAX, (first, last)
        return parse_candles(await self._ask(HISTORICAL_PATH.format(key=quote(key, safe=""), first=first, last=last)))

    async def _ask(self, path: str) -> Any:
        """Get JSON with the token."""
        url = URL(f"{self._settings.api_url}{path}", encoded=True)
        return await self._asked(url, self._json, headers=self.bearer)

    async def _asked(
        self,
        url: str | URL,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        *,
        headers: Callable[[], dict[str, str]] | None = None,
        form: Mapping[str, str] | None = None,
        refusal: Callable[[int, str], FeedError] | None = None,
        tries: int | None = None,
        within_s: float = math.inf,
        **options: Any,
    ) -> T:
        """Send a request at the pace that the vendor allows; retry when it is too busy or does not answer.

        Parameters
        ----------
        url
            Address. A redirect is followed only without headers and form, which contain secrets.
        read
            Converts the answer; any error that an answer of another form causes means "not understood".
        headers
            Returns the headers with the token, for each try.
        form
            Fields to post.
        refusal
            Returns the error for an HTTP status and the vendor's code; None: `refused`.
        tries
            Maximum number of tries; None: `TRIES_MAX`.
        within_s
            No further try after this many seconds.
        options
            Passed to aiohttp.

        Raises
        ------
        FeedError
            Why the last try failed. It never contains what was sent or received.
        """
        began, tries, method = math.nan, tries or TRIES_MAX, "GET" if form is None else "POST"
        is_public = headers is None and form is None
        for attempt in range(1, tries + 1):
            await asyncio.sleep(_limiter.reserve(time.monotonic()))
            began = time.monotonic() if attempt == 1 else began
            sent = options if is_public else options | {"headers": headers() if headers else None, "data": form}
            try:
                async with self._answer(method, url, follow=is_public, **sent) as response:
                    if response.status == 200:
                        return await read(response)
                    is_busy = response.status == 429 or response.status >= 500
                    error = (refusal or refused)(response.status, await error_code(response))
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                is_busy, error = True, self._unreached(url, exc)
            except (KeyError, TypeError, ValueError, AttributeError) as exc:  # may contain a token or a code
                raise FeedError(
                    f"answer of {shown(url)!r} is not understood: {type(exc).__name__}: try again later"
                ) from None
            if not is_busy or attempt == tries or time.monotonic() - began > within_s:
                raise error
            wait_s = backoff_s(attempt, random.Random(), first_s=1.0, max_s=self._settings.backoff_max_s)  # noqa: S311
            log.warning("request refused, trying again in_s=%.1f error=%s", wait_s, error)
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def _unreached(self, url: str | URL, exc: Exception) -> FeedError:
        """Return the error for a request without an answer."""
        is_api = str(url).startswith(self._settings.api_url)
        setting = "UPSTOX_API_URL" if is_api else "UPSTOX_ASSETS_URL"
        return FeedError(f"cannot reach {shown(url)!r}: {reason(exc)}: check the network and {setting}")

    @asynccontextmanager
    async def _answer(
        self, method: str, url: str | URL, *, follow: bool, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; if allowed, follow a few redirects to addresses that are as safe."""
        for _ in range(HOPS_MAX + 1):
            async with self._open().request(method, url, allow_redirects=False, **options) as response:
                if not follow or response.status not in REDIRECTS:
                    yield response
                    return
                try:
                    url = redirected(str(url), response.headers.get("Location", ""))
                except ValueError as exc:
                    raise FeedError(f"a redirect of {str(url)!r} is not followed: {exc}") from None
        raise FeedError(f"more than {HOPS_MAX} redirects, the last of them to {str(url)!r}: check UPSTOX_ASSETS_URL")

    async def _json(self, response: aiohttp.ClientResponse) -> Any:
        return await json_of(response, self._settings.answer_bytes_max)

    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use `async with UpstoxApi(...)`"
        return self._session
