"""Checks of the vendor: whether it can be reached, our clock against its, the token and its end."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from ingest.doctor.findings import State, failure, fine, of_clock, warning
from ingest.doctor.installation import Installation, NotCheckedError
from ingest.errors import AuthorizationError, FeedError
from ingest.market.shown_time import ist
from ingest.own_api import HEALTH, STATUS
from ingest.upstox.rest import HOLIDAYS_PATH, UpstoxApi, user_agent
from ingest.upstox.tokens import times_of

ANSWER_S = 6.0
SKEW_S_MAX = 30.0  # minutes are cut by the feed's time, but sessions and tokens are judged by ours
SOON = timedelta(hours=3)
PROBE = "NSE_INDEX|Nifty 50"


def check_reachable(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the vendor's REST API answers."""
    status, _ = _asked(installation)
    host = urlsplit(installation.settings.api_url).hostname
    if status == http.client.OK:
        yield fine(f"{host} answers")
    else:
        yield warning(f"{host} answers with HTTP status {status}", "try again later; check UPSTOX_API_URL")


def check_clock(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Compare our clock with the feed's time if an ingester runs, otherwise with the vendor's HTTP date."""
    skew, whose = _feed_skew(installation), "the feed"
    if skew is None:
        try:
            _, skew = _asked(installation)
        except FeedError:
            raise NotCheckedError("the vendor cannot be reached") from None
        whose = "the vendor's server"
    if skew is None:
        raise NotCheckedError("the vendor's answer has no date")
    yield of_clock("", skew, whose, "synchronise the clock: `timedatectl set-ntp true`", s_max=SKEW_S_MAX)


def check_token(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that there is an access token, that it has not ended, and that the vendor takes it."""
    config = installation.settings
    token = config.token().get_secret_value()  # raises if there is none
    now, (_, ends) = installation.now(), times_of(token)
    if ends is not None and ends <= now:
        yield failure(f"ended at {ist(ends)}", "run `tickline login`")
        return
    said = "" if ends is None else f", ends at {ist(ends)}"
    try:
        asyncio.run(_use(installation))
    except AuthorizationError:
        yield failure(f"the vendor refuses it{said}", "run `tickline login`")
        return
    except (FeedError, TimeoutError):
        yield warning(f"set{said}; the vendor was not asked", "see the vendor's line")
        return
    if ends is not None and ends - now < SOON:
        yield warning(f"the vendor takes it{said}", "run `tickline login` before")
    else:
        yield fine(f"the vendor takes it{said}")


async def _use(installation: Installation) -> None:
    async with asyncio.timeout(ANSWER_S), UpstoxApi(installation.settings) as api:
        await api.last_prices([PROBE])


def _asked(installation: Installation) -> tuple[int, float | None]:
    """Return the HTTP status of the vendor and how far our clock is ahead of its date, seconds.

    Raises
    ------
    FeedError
        If it does not answer.
    """
    parts = urlsplit(installation.settings.api_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S)
    try:
        began = installation.now()
        connection.request("GET", parts.path + HOLIDAYS_PATH, headers={"User-Agent": user_agent()})
        response = connection.getresponse()
        middle = began + (installation.now() - began) / 2
        given = response.headers.get("Date")
    except (OSError, http.client.HTTPException, ValueError) as exc:
        why = str(exc) if isinstance(exc, OSError) else type(exc).__name__
        raise FeedError(
            f"vendor at {parts.hostname!r} cannot be reached: {why or type(exc).__name__}: check the network, DNS and "
            "UPSTOX_API_URL"
        ) from None
    finally:
        connection.close()
    try:
        date = parsedate_to_datetime(given or "")
    except ValueError:
        return response.status, None
    skew = (middle - date.replace(tzinfo=date.tzinfo or UTC)).total_seconds()
    # The date is cut to whole seconds: within one of them nobody can tell.
    return response.status, 0.0 if 0 <= skew <= 1 else skew - 0.5


def _feed_skew(installation: Installation) -> float | None:
    """Return how far our clock is ahead of the feed's time; None: none is received, or it is a simulator's."""
    status, health = installation.answer(STATUS), installation.answer(HEALTH)
    if not status or not health or health.get("environment") == "simulator" or not status.get("market_time"):
        return None
    if not status.get("websocket_connected"):
        return None
    return (installation.now() - datetime.fromisoformat(status["market_time"])).total_seconds()
