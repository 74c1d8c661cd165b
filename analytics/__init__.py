"""Analytics: ticks and bars out of the database into Polars.

Reads the public relations of the database and nothing else of it; imports nothing of `ingest`.
The two functions are loaded when first used, so that importing this package costs no Polars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analytics.reader import bars, ticks

__all__ = ["bars", "ticks"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analytics import reader  # noqa: PLC0415 - see the module docstring

    return getattr(reader, name)
