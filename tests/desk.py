"""The database of a trading desk, made in SQL: days of ticks and bars of many instruments, to ask questions of.

200 instruments (an index, its future, a chain of 60 options, shares) have ticks and official bars on all days, a crowd
of shares only on the last one, and expired options one tick on the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from analytics.market_time import market_day
from ingest.database.connections import Database

MINUTES = 375
OPENS = timedelta(hours=3, minutes=45)  # 09:15 IST, after UTC midnight
CHAIN = 30  # strikes, each with a call and a put
INDEX, FUTURE, SHARE = "NSE_INDEX|Nifty 50", "NSE_FO|35001", "NSE_EQ|INE002A01018"


@dataclass(frozen=True, slots=True)
class Desk:
    """Size of a desk.

    Attributes
    ----------
    days
        Sessions, on weekdays, the last before today.
    instruments
        With ticks on all days.
    crowd
        More instruments, with ticks on the last day.
    expired
        Options that expired before the first day.
    seconds
        Between two ticks of one instrument.
    """

    days: int
    instruments: int
    crowd: int
    expired: int
    seconds: int

    @property
    def sessions(self) -> list[date]:
        """The days with a session, oldest first."""
        today = market_day(datetime.now(UTC))
        found = [day for n in range(1, 2 * self.days + 4) if (day := today - timedelta(days=n)).weekday() < 5]
        return found[: self.days][::-1]

    @property
    def last(self) -> date:
        """The newest of them."""
        return self.sessions[-1]


FULL = Desk(days=30, instruments=200, crowd=1_800, expired=10_000, seconds=27)
SMALL = Desk(days=3, instruments=70, crowd=30, expired=20, seconds=60)


def furnish(database: Database, desk: Desk) -> None:
    """Fill an empty database of the current schema."""
    with database.connect(autocommit=True) as connection:
        _list_instruments(connection, desk)
        for day in desk.sessions:
            _trade(connection, desk, day)
        first = desk.sessions[0]
        connection.execute(
            "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
            "select %(at)s, instrument_id, 1, true, 1, 1, 1, %(at)s from instruments where expiry < %(first)s",
            {"at": _opens(first), "first": first},
        )
        connection.execute(
            "insert into tickline.active_instruments (instrument_id) select instrument_id from instruments"
        )
        connection.execute("call tickline.refresh_bars(%s, %s)", (_opens(first), _opens(desk.last) + timedelta(days=1)))
        if database.engine == "timescale":
            _convert(connection, desk)
        connection.execute(
            "insert into signals (instrument_id, bucket, rule_set, direction, confidence, score, price, reasons, "
            "severity) select instrument_id, %s::timestamptz + instrument_id * interval '1 minute', 'desk', 'up', 0.9, "
            "2, 100, '{\"text\": \"volume\"}', 'low' from instruments "
            "where expiry is null order by instrument_id limit 100",
            (_opens(desk.last),),
        )
        connection.execute("vacuum analyze")


def _convert(connection: psycopg.Connection[Any], desk: Desk) -> None:
    """Convert to the columnstore what its jobs convert, and of ticks all days before the last."""
    job = connection.execute(
        "select job_id, (config || jsonb_build_object('after', (now() - %s)::text))::text "
        "from timescaledb_information.jobs where proc_name = 'compress_ticks'",
        (_opens(desk.last),),
    ).fetchone()
    connection.execute("call tickline.compress_ticks(%s, %s::jsonb)", job)
    jobs = "select job_id from timescaledb_information.jobs where proc_name = 'policy_compression'"
    for job in connection.execute(jobs).fetchall():
        connection.execute("call run_job(%s)", job)


def _opens(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + OPENS


def _list_instruments(connection: psycopg.Connection[Any], desk: Desk) -> None:
    expiry = desk.last + timedelta(days=15)
    shares = desk.instruments - 2 - 2 * CHAIN
    connection.execute(
        "insert into instruments (instrument_key, segment, name, trading_symbol, underlying_key, instrument_type, "
        "expiry, strike, lot_size, tick_size, valid_from) "
        "select *, %(from)s from ("
        "  values (%(index)s, 'NSE_INDEX', 'Nifty 50', 'NIFTY', null, 'INDEX', null::date, null::float8, 1, 0.05),"
        "    (%(future)s, 'NSE_FO', 'NIFTY', 'NIFTY FUT NEXT', %(index)s, 'FUT', %(expiry)s::date, null, 75, 0.1)"
        "  union all select 'NSE_FO|' || 36000 + 2 * n + (kind = 'PE')::int, 'NSE_FO', 'NIFTY',"
        "    'NIFTY ' || 25250 + 50 * n || ' ' || kind || ' NEXT', %(index)s, kind, %(expiry)s, 25250 + 50 * n,"
        "    75, 0.05 from generate_series(1, %(chain)s) as n cross join unnest(array['CE', 'PE']) as kind"
        "  union all select case n when 1 then %(share)s else 'NSE_EQ|INE' || lpad(n::text, 9, '0') end, 'NSE_EQ',"
        "    'Company ' || n, case n when 1 then 'RELIANCE' else 'SHARE' || n end, null, 'EQ', null, null, 1, 0.05"
        "    from generate_series(1, %(shares)s) as n"
        "  union all select 'NSE_FO|' || 500000 + n, 'NSE_FO', 'NIFTY', 'NIFTY ' || n || ' CE PAST', %(index)s,"
        "    'CE', %(first)s::date - 30, n, 75, 0.05 from generate_series(1, %(expired)s) as n"
        ") as listed",
        {
            "from": _opens(desk.sessions[0]) - timedelta(days=1), "first": desk.sessions[0], "index": INDEX,
            "future": FUTURE, "share": SHARE, "expiry": expiry, "chain": CHAIN, "shares": shares + desk.crowd,
            "expired": desk.expired,
        },
    )  # fmt: skip


def _trade(connection: psycopg.Connection[Any], desk: Desk, day: date) -> None:
    """Add the ticks and official bars of one day: prices swing by the instrument's number, volume is even."""
    opens = _opens(day)
    parameters = {
        "opens": opens,
        "step": timedelta(seconds=desk.seconds),
        "last": MINUTES * 60 // desk.seconds - 1,
        "minutes": MINUTES - 1,
        "index": INDEX,
        "living": f"{day}",
        "count": desk.instruments + (desk.crowd if day == desk.last else 0),
    }
    traded = (
        "(select * from instruments where expiry is null or expiry >= %(living)s "
        "order by instrument_id limit %(count)s)"
    )
    connection.execute("select tickline.ensure_partitions(%s, %s)", (opens, opens))
    connection.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, ltq, ltt, vtt, volume, oi, atp, tbq, tsq, bid, "
        "bid_qty, ask, ask_qty, iv, delta, gamma, day_open, day_high, day_low, prev_close, received_at) "
        "select at, instrument_id, n * 10000 + instrument_id, true, price, 10, at, 10 * n + 10, 10, "
        "case when expiry is not null then 5000 + 10 * n end, price, 900, 800, price - 0.05, 75, price + 0.05, 150, "
        "case when strike is not null then 0.15 end, case when strike is not null then 0.5 end, "
        "case when strike is not null then 0.001 end, base, base + 9, base - 9, base - 1, at + interval '20 ms' "
        f"from generate_series(0, %(last)s) as n cross join {traded} as traded "
        "cross join lateral (select 100 + instrument_id %% 400 as base, %(opens)s + n * %(step)s as at) as basis "
        "cross join lateral "
        "(select round((base + 8 * sin(n / 40.0 + instrument_id))::numeric, 2)::float8 as price) as priced "
        "order by n, instrument_id",
        parameters,
    )
    connection.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, oi, source) "
        "select instrument_id, %(opens)s + n * interval '1 minute', price, price + 1, price - 1, price + 0.5, 20, "
        "case when expiry is not null then 5000 end, 'I1' "
        f"from generate_series(0, %(minutes)s) as n cross join {traded} as traded cross join lateral "
        "(select 100 + instrument_id %% 400 + round((8 * sin(n / 15.0 + instrument_id))::numeric, 2) as price) "
        "as priced "
        "order by n, instrument_id",
        parameters,
    )
