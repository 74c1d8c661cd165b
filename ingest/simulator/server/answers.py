"""The vendor's REST answers apart from market data: errors, market times, instrument masters."""

from __future__ import annotations

import asyncio
import gzip
from datetime import date
from typing import Any

from aiohttp import web

from ingest.market import calendar
from ingest.market.calendar import usual_hours
from ingest.simulator.server.faults import Faults
from ingest.simulator.server.odd_data import as_json, odd_rows
from ingest.simulator.source import Source

EXCHANGES = ("complete", "NSE", "BSE")
CLOSED = ["NSE", "NFO", "CDS", "BSE", "BFO", "BCD"]  # on a holiday of NSE

_ERRORS = {
    400: ("UDAPI1021", "Invalid request"),
    401: ("UDAPI100050", "Invalid token used to access API"),
    403: ("UDAPI100500", "Forbidden"),
    404: ("UDAPI100060", "Resource not Found."),
    429: ("UDAPI10005", "Too Many Request Sent"),
}


def error(status: int) -> web.Response:
    """Answer with the vendor's error envelope, in both its spellings."""
    code, message = _ERRORS.get(status, ("UDAPI100000", "Error"))
    said: dict[str, Any] = {"errorCode": code, "message": message, "propertyPath": None, "invalidValue": None}
    said |= {"error_code": code, "property_path": None, "invalid_value": None}
    return web.json_response({"status": "error", "errors": [said]}, status=status)


def holidays() -> list[dict[str, Any]]:
    """Return the vendor's rows for the days on which NSE is closed."""
    return [
        {"date": str(day), "holiday_type": "TRADING_HOLIDAY", "closed_exchanges": CLOSED, "open_exchanges": []}
        for day in sorted(calendar.HOLIDAYS)
    ]


def timings_of(day: date) -> list[dict[str, Any]]:
    """Return the vendor's rows for the hours of a day."""
    hours = {exchange: usual_hours(exchange, day) for exchange in dict.fromkeys(calendar.EXCHANGES.values())}
    return [
        {
            "exchange": exchange,
            "start_time": int(found.opens.timestamp() * 1000),
            "end_time": int(found.closes.timestamp() * 1000),
        }
        for exchange, found in hours.items()
        if found
    ]


class Masters:
    """The instrument masters as files, compressed on request if they have changed."""

    def __init__(self, source: Source, faults: Faults) -> None:
        self._source, self._faults = source, faults
        self._packed: dict[str, tuple[list[Any], bytes]] = {}  # rows and odd rows, and the file
        self._lock = asyncio.Lock()

    async def file(self, exchange: str) -> bytes:
        """Return the master of an exchange, or of all for `complete`."""
        async with self._lock:
            known, packed = self._packed.get(exchange, (None, b""))
            rows: list[Any] = [
                row for row in self._source.instruments() if exchange in {"complete", row.get("exchange")}
            ]
            version = [self._faults.odd_rows, rows]
            if known != version:  # a new day has a new one
                rows = odd_rows(self._faults.odd_rows, self._faults.seed) + rows
                packed = await asyncio.to_thread(_pack, rows)
                self._packed[exchange] = version, packed
        return packed


def _pack(rows: list[Any]) -> bytes:
    return gzip.compress(as_json(rows), compresslevel=1, mtime=0)
