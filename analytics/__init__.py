"""Analytics: read ticks and bars into Polars, compute indicators, and find spikes.

    bars(keys, interval="15m", start=..., end=...)   OHLCV bars of instruments
    ticks(keys, start=..., end=...)                  their ticks, one row per update
    depth(keys, start=..., end=...)                  levels of their order books, if TICKLINE_DEPTH kept them
    features(bars)                                   all indicators of bars, a lazy frame
    spikes(features)                                 the bars that fire, with confidence and reasons
    labels(keys, start=..., end=...)                 what `tickline spikes label` said of signals
    stream(keys, kinds=("tick", "bar"))              events of a running ingester, as they come
    chains.with_spot, chains.exposures               option chains: delta and gamma exposure
    option_model.model(bars, terms)                  own implied volatility and greeks, beside the vendor's

Reads only the public relations of the database; from `ingest` it uses the database, the errors and a few helpers.
Functions are loaded at first use, so that importing this package does not import Polars.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analytics.event_stream import stream
    from analytics.factors import chains, indicators, option_model
    from analytics.factors.frame import features
    from analytics.read.bars_and_ticks import bars, depth, ticks
    from analytics.review.labels import labels
    from analytics.signals.detection import spikes

__all__ = ["bars", "chains", "depth", "features", "indicators", "labels", "option_model", "spikes", "stream", "ticks"]
_FUNCTIONS = {
    "bars": "read.bars_and_ticks",
    "depth": "read.bars_and_ticks",
    "features": "factors.frame",
    "labels": "review.labels",
    "spikes": "signals.detection",
    "stream": "event_stream",
    "ticks": "read.bars_and_ticks",
}
_MODULES = {"chains": "factors.chains", "indicators": "factors.indicators", "option_model": "factors.option_model"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
