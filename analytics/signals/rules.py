"""Rules of spike detection: windows, weights and limits as one typed object that TOML can hold.

Owns the numbers and what each means. The weights of the default rules come from
`analytics.signals.evaluation.fit` on labelled events; `tickline spikes evaluate` shows how they hold up.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from analytics.factors.windows import Limited, Windows
from ingest.errors import ConfigError, lower_first


class Weights(Limited):
    """Points of log-odds for each point of a factor's score.

    price, volume and trades are fitted; iv and oi are set by hand, for want of labelled events with them. iv
    stands in for volume and trades where it says more than they do: price and implied volatility of an option go
    together, so it has less than their weight.
    """

    price: float = 1.37
    volume: float = 1.69
    trades: float = 1.06
    iv: float = 2.0
    oi: float = 0.3


class Rules(Limited):
    """A rule set: confidence = 1 / (1 + exp(-(bias + sum of weight * score)))."""

    name: str = Field(default="default-1", min_length=1, max_length=60, description="signals are stored under it")
    windows: Windows = Windows()
    weights: Weights = Weights()
    factor_min: float = Field(
        default=0.69, ge=0, description="score that price, and volume or implied volatility, must each have; 0.69: 1 sd"
    )
    bias: float = -13.66
    # The labelled events are of thin coins, whose volume and price jump a hundredfold. What is rare on an
    # exchange is less: with this RELIANCE fires on 8 of 69 days in 5-minute bars. A guess, not a fit.
    exchange_points: float = Field(default=6.3, description="added for the vendor's keys, as 'NSE_EQ|...'")
    confidence_min: float = Field(default=0.35, ge=0, le=1, description="from here on a bar fires")
    quiet_minutes: int = Field(
        default=60, ge=0, description="a bar that fires so soon after another goes on with its spike"
    )
    history_days: int = Field(
        default=10, ge=1, le=60, description="calendar days of bars read before the day that is judged"
    )


DEFAULT = Rules()


def load_rules(path: Path) -> Rules:
    """Return the rules of a TOML file; what it leaves out is as in the default rules.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no TOML, or has a setting that is unknown or out of range.
    """
    try:
        return Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise ConfigError(f"rules {str(path)!r} cannot be read: {exc.strerror}: name a TOML file") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"rules {str(path)!r} are no TOML: {exc}: correct the file") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(map(str, first["loc"]))
        text = f"rules {str(path)!r}: {place} {first['input']!r}: {lower_first(first['msg'])}: correct the file"
        raise ConfigError(text) from exc
