"""The option chain around the money, read once however many browsers show it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

from analytics.page.database import Store

STRIKES = 12  # on each side of the money
SIDE = ("ltp", "bid", "ask", "volume", "oi", "iv", "delta", "gamma", "theta", "vega", "id")


class Expiry(NamedTuple):
    """An underlying and one of its expiries."""

    underlying_key: str
    underlying: str
    expiry: date


async def expiries(store: Store) -> list[Expiry]:
    """Return what chains there are, those of indices first; raises TicklineError if the database does not answer."""
    found = [Expiry(*row) for row in await store.rows("underlyings", {})]
    return sorted(found, key=lambda one: ("INDEX|" not in one.underlying_key, one.underlying, one.expiry))


async def read_chain(store: Store, asked: Expiry, at: datetime, spot: float | None) -> list[dict[str, Any]]:
    """Return the rows around the money, lowest strike first, raises TicklineError if the database does not answer.

    Parameters
    ----------
    at
        The market's time.
    spot
        Price of the underlying, rupees; None: not known.
    """
    found = await store.rows("option_chain", {"underlying_key": asked.underlying_key, "at": at, "expiry": asked.expiry})
    return around_the_money([_row(*values) for values in found], spot)


def around_the_money(rows: list[dict[str, Any]], spot: float | None) -> list[dict[str, Any]]:
    """Return the rows nearest to the spot, and mark the one at the money; without a spot, by the call's delta."""
    if not rows:
        return []
    if spot is not None:
        nearest = min(range(len(rows)), key=lambda place: abs(rows[place]["strike"] - spot))
    else:
        nearest = min(range(len(rows)), key=lambda place: abs((rows[place]["call_delta"] or 0.0) - 0.5))
    first = max(0, nearest - STRIKES)
    return [row | {"marked": place == nearest} for place, row in enumerate(rows)][first : nearest + STRIKES + 1]


def _row(strike: float, *values: Any) -> dict[str, Any]:
    names = [f"{side}_{name}" for side in ("call", "put") for name in SIDE]
    return {"key": f"{strike:g}", "strike": strike} | dict(zip(names, values, strict=True))
