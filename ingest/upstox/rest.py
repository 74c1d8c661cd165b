"""The vendor's REST API: authorise the feed, fetch the instrument master, ask for minute bars.

Owns URLs, headers, the pace of requests and the meaning of HTTP answers. The token is sent in a header and appears
nowhere else: not in a URL, a log line or an error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from ingest.addresses import feed_uri, redirected
from ingest.backoff import backoff_s
from ingest.errors import AuthorizationError, FeedError
from ingest.settings import Settings
from ingest.time_source import TimeSource
from ingest.upstox.answers import Candle, parse_candles, parse_prices, parse_quotes
from ingest.upstox.rate_limit import Limiter
from ingest.upstox.tokens import Tokens


def chunks(keys: Sequence[str], batch_keys: int) -> Iterator[Sequence[str]]:
    """Cut keys into the lists of one request each."""
    for start in range(0, len(keys), batch_keys):
        yield keys[start : start + batch_keys]


AUTHORIZE_PATH = "/v3/feed/market-data-feed/authorize"
LOGIN_PATH = "/v2/login/authorization/token"
DIRECT_PATH = "/v3/feed/market-data-feed"
MASTER_PATH = "/market-quote/instruments/exchange/{exchange}.json.gz"
INTRADAY_PATH = "/v3/historical-candle/intraday/{key}/minutes/1"
HISTORICAL_PATH = "/v3/historical-candle/{key}/minutes/1/{last}/{first}"
QUOTES_PATH = "/v3/market-quote/ohlc"
PRICES_PATH = "/v3/market-quote/ltp"
QUOTES_KEYS_MAX = 500
HISTORICAL_DAYS_MAX = 28  # a month a call, and the shortest has 28 days
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HOPS_MAX = 3  # from one redirect to the next; a content network makes one
TRIES_MAX = 4  # of a request that the vendor is too busy for
HOLIDAYS_PATH = "/v2/market/holidays"
TIMINGS_PATH = "/v2/market/timings/{day}"
BODY_PIECE_BYTES = 2**16
ERROR_BYTES_MAX = 2**16  # the envelope of an error is some hundred bytes
ERROR_CODE = re.compile(r"[A-Z]{2,12}[0-9]{1,12}")  # "UDAPI100060"; what else stands there is not repeated


log = logging.getLogger(__name__)
_limiter = Limiter()  # of the process: the vendor counts per user


def user_agent() -> str:
    """Name of this client: requests without one get 403 from the vendor's gateway."""
    return f"tickline/{version('tickline')}"


class UpstoxApi:
    """A REST session. Use it as an async context manager."""

    def __init__(self, settings: Settings, timepiece: TimeSource | None = None) -> None:
        self._settings = settings
        self.timepiece = timepiece or TimeSource()
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
        """The access tokens; what needs none works without."""
        if self._tokens is None:
            self._tokens = Tokens(self._settings, self.timepiece)
        return self._tokens

    def bearer(self) -> dict[str, str]:
        """Headers that carry the token."""
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
        url = f"{self._settings.api_url}{AUTHORIZE_PATH}"
        await asyncio.sleep(_limiter.reserve(time.monotonic()))
        token = self.tokens.current()
        try:
            async with self._open().get(url, headers=self.bearer(), allow_redirects=False) as response:
                if response.status == 401:
                    self.tokens.refuse(token)
                if response.status != 200:
                    raise refused(response.status, await _error_code(response))
                data = (await _json(response, self._settings.answer_bytes_max))["data"]
                return feed_uri(str(data.get("authorized_redirect_uri") or data["authorizedRedirectUri"]))
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise FeedError(
                f"cannot reach {self._settings.api_url!r}: {_reason(exc)}: check the network and UPSTOX_API_URL"
            ) from None
        except (KeyError, TypeError, ValueError, AttributeError) as exc:  # which may hold the one-time code
            raise FeedError(f"answer of {url!r} is not understood: {type(exc).__name__}: it is asked again") from None

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
        try:
            # A redirect of 307 or 308 would hand key and secret on to whatever host it names.
            async with self._open().post(config.api_url + LOGIN_PATH, data=form, allow_redirects=False) as response:
                if response.status in REDIRECTS:
                    raise refused(response.status)
                if response.status != 200:
                    said = f"{response.status} {await _error_code(response)}".strip()
                    raise FeedError(f"login refused ({said}): check key, secret and redirect URI, and log in again")
                return str((await _json(response, self._settings.answer_bytes_max))["access_token"])
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise FeedError(f"cannot reach {config.api_url!r}: {_reason(exc)}") from None
        except (KeyError, TypeError, ValueError):  # which may hold the answer, and that the token
            raise FeedError("the answer to the login is not understood: log in again") from None

    async def market_holidays(self) -> list[dict[str, Any]]:
        """Fetch this year's holidays and special sessions: rows of date, holiday_type, closed and open exchanges.

        Raises
        ------
        FeedError
            If there is no such answer.
        """
        return await self._rows(HOLIDAYS_PATH)

    async def market_timings(self, day: date) -> list[dict[str, Any]]:
        """Fetch the hours of a day: rows of exchange, start_time, end_time (epoch ms); none on a holiday.

        Raises
        ------
        FeedError
            If there is no such answer.
        """
        return await self._rows(TIMINGS_PATH.format(day=day))

    async def _rows(self, path: str) -> list[dict[str, Any]]:
        """Get an array of objects; these paths need no token."""
        url = self._settings.api_url + path
        try:
            async with self._get(url) as response:
                if response.status != 200:
                    raise refused(response.status, await _error_code(response))
                rows = (await _json(response, self._settings.answer_bytes_max))["data"]
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise FeedError(f"cannot fetch {url!r}: {_reason(exc)}: check the network and UPSTOX_API_URL") from None
        except (KeyError, TypeError, ValueError) as exc:
            raise FeedError(f"answer of {url!r} is not understood: {type(exc).__name__}") from None
        if not isinstance(rows, list):
            raise FeedError(f"answer of {url!r} is not understood: no array")
        return rows

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
        try:
            async with self._get(url, auto_decompress=False, timeout=timeout) as response:
                if response.status != 200:
                    raise FeedError(f"instrument master {url!r} answered {response.status}: check UPSTOX_ASSETS_URL")
                return await _body(response, config.master_bytes_max, "TICKLINE_MASTER_BYTES_MAX")
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise FeedError(f"cannot fetch instrument master {url!r}: {_reason(exc)}") from None

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
        """Get JSON at the pace that the vendor allows; try again when it is too busy."""
        url = URL(f"{self._settings.api_url}{path}", encoded=True)
        for attempt in range(1, TRIES_MAX + 1):
            await asyncio.sleep(_limiter.reserve(time.monotonic()))
            try:
                async with self._open().get(url, headers=self.bearer(), allow_redirects=False) as response:
                    if response.status == 200:
                        return await _json(response, self._settings.answer_bytes_max)
                    busy = response.status == 429 or response.status >= 500
                    error = refused(response.status, await _error_code(response))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
                busy, error = True, FeedError(f"no answer from {self._settings.api_url!r}: {_reason(exc)}")
            if not busy or attempt == TRIES_MAX:
                raise error
            wait_s = backoff_s(attempt, random.Random(), first_s=1.0, max_s=self._settings.backoff_max_s)  # noqa: S311
            log.warning("request refused, trying again in_s=%.1f error=%s", wait_s, error)
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def _get(self, url: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Get what needs no token: a redirect is followed, some times, to where it is as safe."""
        for _ in range(HOPS_MAX + 1):
            async with self._open().get(url, allow_redirects=False, **options) as response:
                if response.status not in REDIRECTS:
                    yield response
                    return
                try:
                    url = redirected(url, response.headers.get("Location", ""))
                except ValueError as exc:
                    raise FeedError(f"a redirect of {url!r} is not followed: {exc}") from None
        raise FeedError(f"more than {HOPS_MAX} redirects, the last of them to {url!r}: check UPSTOX_ASSETS_URL")

    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use `async with UpstoxApi(...)`"
        return self._session


def _reason(exc: Exception) -> str:
    """Say why there was no answer; errors about what was received quote it, and it may be a secret."""
    if isinstance(exc, TimeoutError):
        return "timed out"
    if isinstance(exc, OSError):
        return str(exc) or type(exc).__name__
    return f"the answer is broken ({type(exc).__name__})"


async def _body(response: aiohttp.ClientResponse, bytes_max: int, setting: str) -> bytearray:
    """Return a body whole, in however many pieces it comes; one that is too long is not read to its end.

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


async def _json(response: aiohttp.ClientResponse, bytes_max: int) -> Any:
    """Return what a JSON answer says, whatever type it says it has.

    Raises
    ------
    FeedError
        If it is longer than `bytes_max`, or no JSON.
    """
    body = await _body(response, bytes_max, "TICKLINE_ANSWER_BYTES_MAX")
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # which may hold the body, and that a token or a code
        raise FeedError(f"answer of {str(response.url.origin())!r} is not understood: it is no JSON") from None


def _no_constant(text: str) -> Any:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
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


async def _error_code(response: aiohttp.ClientResponse) -> str:
    """Error code of the vendor's envelope, or nothing."""
    try:
        document = await _json(response, ERROR_BYTES_MAX)
        code = str(document["errors"][0]["errorCode"])
        return code if ERROR_CODE.fullmatch(code) else ""
    except (FeedError, ValueError, KeyError, IndexError, TypeError, aiohttp.ClientError):
        return ""
