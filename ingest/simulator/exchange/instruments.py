"""The instruments of the generated market, with rows like the vendor's master. Pure.

Names, ISINs, lots and strike steps are the exchange's of December 2025; the contracts, their tokens
and all prices are invented.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from itertools import chain, count, islice
from typing import NamedTuple

from ingest.market.time import moment
from ingest.simulator.source import Instrument

TICK_PAISE = 5
FIRST_TOKEN = 35_000  # of the invented contracts
TUESDAY = 1  # NSE contracts expire on Tuesdays since September 2025


class Underlying(NamedTuple):
    """The underlying of derivatives, and the parameters of its price."""

    symbol: str  # as in trading symbols
    name: str
    key: str
    token: str
    lot: int  # of its derivatives; 0 if there are none
    price: float  # rupees, near that of December 2025
    strike_step: float  # rupees
    beta: float  # its move relative to the market's
    volatility: float  # its own, besides the market's, as a fraction per year


INDICES = (
    Underlying("NIFTY", "Nifty 50", "NSE_INDEX|Nifty 50", "26000", 65, 26000.0, 50.0, 1.0, 0.0),
    Underlying("BANKNIFTY", "Nifty Bank", "NSE_INDEX|Nifty Bank", "26009", 30, 59300.0, 100.0, 1.1, 0.05),
    Underlying("INDIA VIX", "India VIX", "NSE_INDEX|India VIX", "26017", 0, 11.0, 0.0, -6.0, 0.6),
)
VIX = 2  # position of India VIX: it sets the level of every volatility smile
_SHARES = (  # symbol, name, ISIN, token, lot of its derivatives, price, strike step
    ("RELIANCE", "RELIANCE INDUSTRIES LTD", "INE002A01018", 2885, 500, 1545.0, 10.0),
    ("HDFCBANK", "HDFC BANK LTD", "INE040A01034", 1333, 550, 996.0, 5.0),
    ("ICICIBANK", "ICICI BANK LTD.", "INE090A01021", 4963, 700, 1366.0, 10.0),
    ("INFY", "INFOSYS LIMITED", "INE009A01021", 1594, 400, 1602.0, 20.0),
    ("TCS", "TATA CONSULTANCY SERV LT", "INE467B01029", 11536, 175, 3225.0, 20.0),
    ("SBIN", "STATE BANK OF INDIA", "INE062A01020", 3045, 750, 967.0, 5.0),
    ("ITC", "ITC LTD", "INE154A01025", 1660, 1600, 401.0, 2.5),
    ("LT", "LARSEN & TOUBRO LTD.", "INE018A01030", 11483, 175, 4070.0, 20.0),
    ("BHARTIARTL", "BHARTI AIRTEL LIMITED", "INE397D01024", 10604, 475, 2080.0, 20.0),
    ("AXISBANK", "AXIS BANK LIMITED", "INE238A01034", 5900, 625, 1286.0, 10.0),
    ("KOTAKBANK", "KOTAK MAHINDRA BANK LTD", "INE237A01028", 1922, 400, 2176.0, 20.0),
    ("HINDUNILVR", "HINDUSTAN UNILEVER LTD.", "INE030A01027", 1394, 300, 2265.0, 20.0),
    ("BAJFINANCE", "BAJAJ FINANCE LIMITED", "INE296A01032", 317, 750, 1018.0, 10.0),
    ("MARUTI", "MARUTI SUZUKI INDIA LTD.", "INE585B01010", 10999, 50, 16420.0, 100.0),
    ("M&M", "MAHINDRA & MAHINDRA LTD", "INE101A01026", 2031, 200, 3625.0, 50.0),
    ("SUNPHARMA", "SUN PHARMACEUTICAL IND L", "INE044A01036", 3351, 350, 1794.0, 20.0),
    ("TATASTEEL", "TATA STEEL LIMITED", "INE081A01020", 3499, 5500, 172.0, 2.5),
    ("NTPC", "NTPC LTD", "INE733E01010", 11630, 1500, 324.0, 2.5),
    ("POWERGRID", "POWER GRID CORP. LTD.", "INE752E01010", 14977, 1900, 264.0, 2.5),
    ("TITAN", "TITAN COMPANY LIMITED", "INE280A01028", 3506, 175, 3880.0, 20.0),
    ("ASIANPAINT", "ASIAN PAINTS LIMITED", "INE021A01026", 236, 250, 2790.0, 20.0),
    ("HCLTECH", "HCL TECHNOLOGIES LTD", "INE860A01027", 7229, 350, 1672.0, 20.0),
    ("WIPRO", "WIPRO LTD", "INE075A01022", 3787, 3000, 261.0, 2.5),
    ("TECHM", "TECH MAHINDRA LIMITED", "INE669C01036", 13538, 600, 1576.0, 20.0),
    ("JSWSTEEL", "JSW STEEL LIMITED", "INE019A01038", 11723, 675, 1128.0, 10.0),
    ("HINDALCO", "HINDALCO  INDUSTRIES  LTD", "INE038A01020", 1363, 700, 848.0, 10.0),
    ("CIPLA", "CIPLA LTD", "INE059A01026", 694, 375, 1512.0, 10.0),
    ("EICHERMOT", "EICHER MOTORS LTD", "INE066A01021", 910, 175, 7180.0, 50.0),
    ("TRENT", "TRENT LTD", "INE849A01020", 1964, 100, 4120.0, 100.0),
    ("BEL", "BHARAT ELECTRONICS LTD", "INE263A01024", 383, 1425, 391.0, 5.0),
)
EQUITIES = tuple(
    # High-priced shares move a little less: enough to make them differ.
    Underlying(symbol, name, f"NSE_EQ|{isin}", str(token), lot, price, step, 0.8 + 200 / (500 + price), 0.16)
    for symbol, name, isin, token, lot, price, step in _SHARES
)
UNDERLYINGS = INDICES + EQUITIES


@dataclass(frozen=True, slots=True)
class Contract:
    """One instrument of the market."""

    key: str
    kind: str  # INDEX, EQ, FUT, CE, PE
    underlying: int  # position in UNDERLYINGS
    expiry: date | None
    strike: float
    lot: int
    liquidity: float  # relative share of the updates
    row: Instrument

    @property
    def sign(self) -> float:
        """1 for a call, -1 for a put, 0 for everything else."""
        return {"CE": 1.0, "PE": -1.0}.get(self.kind, 0.0)


def make_universe(instruments: int, day: date) -> list[Contract]:
    """Choose the instruments of a market.

    Parameters
    ----------
    instruments
        How many. The three indices come first, then shares and futures, about a quarter and a fifth of
        the total; the rest are options, nearest to the money first.
    day
        Date of the session; contracts expire on that day or later.
    """
    shares = min(len(EQUITIES), max(1, instruments // 4))
    derived = [0, 1, *range(len(INDICES), len(INDICES) + shares)]
    tokens = count(FIRST_TOKEN)
    futures = islice(_futures(derived, day, tokens), max(1, instruments // 5))
    options = _options(derived, day, tokens)
    spots = (_spot(position) for position in [0, 1, VIX, *derived[2:]])
    return list(islice(chain(spots, futures, options), instruments))


def monthly_expiries(day: date, number: int) -> list[date]:
    """Return the next `number` monthly expiries, each on the last Tuesday of its month."""
    found: list[date] = []
    month = day.replace(day=1)
    while len(found) < number:
        following = (month + timedelta(days=32)).replace(day=1)
        last = following - timedelta(days=1)
        expiry = last - timedelta(days=(last.weekday() - TUESDAY) % 7)
        if expiry >= day:
            found.append(expiry)
        month = following
    return found


def _spot(position: int) -> Contract:
    of = UNDERLYINGS[position]
    segment = of.key.partition("|")[0]
    row: Instrument = {
        "segment": segment,
        "name": of.name,
        "exchange": "NSE",
        "instrument_type": "INDEX",
        "instrument_key": of.key,
        "exchange_token": of.token,
        "trading_symbol": of.symbol,
    }
    if segment == "NSE_INDEX":
        return Contract(of.key, "INDEX", position, None, 0.0, 0, 0.0, row)
    row |= {
        "isin": of.key.partition("|")[2],
        "instrument_type": "EQ",
        "lot_size": 1,
        "freeze_quantity": 100000.0,
        "tick_size": float(TICK_PAISE),
        "qty_multiplier": 1.0,
        "security_type": "NORMAL",
    }
    return Contract(of.key, "EQ", position, None, 0.0, 1, 4.0 / (1 + position * 0.1), row)


def _futures(derived: list[int], day: date, tokens: Iterator[int]) -> Iterator[Contract]:
    for position in derived:
        for rank, expiry in enumerate(monthly_expiries(day, 3)):
            liquidity = (5.0 if position < VIX else 2.0 / (1 + position * 0.1)) / (1 + 3 * rank)
            yield _contract(position, "FUT", expiry, 0.0, next(tokens), liquidity=liquidity, weekly=False)


def _options(derived: list[int], day: date, tokens: Iterator[int]) -> Iterator[Contract]:
    """Yield option contracts, strikes nearest to the money first, chains of indices before those of shares."""
    months = monthly_expiries(day, 2)
    week = day + timedelta(days=(TUESDAY - day.weekday()) % 7)
    weeks = sorted({week, week + timedelta(days=7), *months})
    chains = [(0, expiry) for expiry in weeks] + [(1, expiry) for expiry in months]
    share_chains = [(position, expiry) for position in derived[2:] for expiry in months]
    for distance in count():
        if distance > 20:
            chains = chains + share_chains
            share_chains = []
        for offset in (distance, -distance) if distance else (0,):
            for position, expiry in chains:
                of = UNDERLYINGS[position]
                strike = (round(of.price / of.strike_step) + offset) * of.strike_step
                if strike <= 0:
                    continue
                far = (expiry - day).days / 30
                liquidity = (3.0 if position < VIX else 0.5) / (1 + 0.3 * distance) / (1 + far)
                for kind in ("CE", "PE"):
                    weekly = expiry not in months
                    yield _contract(position, kind, expiry, strike, next(tokens), liquidity=liquidity, weekly=weekly)


def _contract(
    position: int, kind: str, expiry: date, strike: float, token: int, *, liquidity: float, weekly: bool
) -> Contract:
    of = UNDERLYINGS[position]
    of_index = position < len(INDICES)
    expires = moment(expiry, time(23, 59, 59))
    what = "FUT" if kind == "FUT" else f"{strike:g} {kind}"
    key = f"NSE_FO|{token}"
    row: Instrument = {
        "weekly": weekly,
        "segment": "NSE_FO",
        "name": of.symbol if of_index else of.name,
        "exchange": "NSE",
        "expiry": int(expires.timestamp()) * 1000,
        "instrument_type": kind,
        "asset_symbol": of.symbol,
        "underlying_symbol": of.symbol,
        "instrument_key": key,
        "lot_size": of.lot,
        "freeze_quantity": of.lot * 25.0,
        "exchange_token": str(token),
        "minimum_lot": of.lot,
        "asset_key": of.key,
        "underlying_key": of.key,
        "tick_size": float(TICK_PAISE),
        "asset_type": "INDEX" if of_index else "EQUITY",
        "underlying_type": "INDEX" if of_index else "EQUITY",
        "trading_symbol": f"{of.symbol} {what} {expiry:%d %b %y}".upper(),
        "strike_price": strike,
        "qty_multiplier": 1.0,
    }
    return Contract(key, kind, position, expiry, strike, of.lot, liquidity, row)
