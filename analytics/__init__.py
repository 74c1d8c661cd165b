"""Analytics: ticks and bars out of the database into Polars, and what can be found in them.

    bars(keys, interval="15m", start=..., end=...)   OHLCV bars of instruments
    ticks(keys, start=..., end=...)                  their ticks, one row per update
    features(bars)                                   all indicators of bars, a lazy frame
    spikes(features)                                 the bars that fire, with confidence and reasons
    chains.with_spot, chains.exposures               option chains: delta and gamma exposure

Reads the public relations of the database and nothing else of it; imports nothing of `ingest`.
The functions are loaded when first used, so that importing this package costs no Polars.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analytics import chains
    from analytics.detection import spikes
    from analytics.feature_frame import features
    from analytics.reader import bars, ticks

__all__ = ["bars", "chains", "features", "spikes", "ticks"]
_HOMES = {"bars": "reader", "features": "feature_frame", "spikes": "detection", "ticks": "reader"}


def __getattr__(name: str) -> Any:
    if name == "chains":
        return import_module(f"{__name__}.chains")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
