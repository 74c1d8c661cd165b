"""Rules of spike detection: windows, weights and limits as one typed object, which TOML can hold.

Owns the numbers and their meanings. The weights of the default rules come from
`analytics.evaluation.fitting.fit` on labelled events; `tickline spikes evaluate` measures them.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from analytics.factors.windows import Limited, Windows
from ingest.errors import ConfigError, lower_first


class Weights(Limited):
    """Log-odds added for each point of a factor's score.

    price, volume and trades are fitted; iv and oi are set by hand, because no labelled events have them. iv replaces
    volume and trades if it adds more. Price and implied volatility of an option move together, so its weight is lower
    than theirs.
    """

    price: float = 1.37
    volume: float = 1.69
    trades: float = 1.06
    iv: float = 2.0
    oi: float = 0.3


class Rules(Limited):
    """A rule set: confidence = 1 / (1 + exp(-(bias + sum of weight * score)))."""

    name: str = Field(default="default-1", min_length=1, max_length=60, description="signals are stored with this name")
    windows: Windows = Windows()
    weights: Weights = Weights()
    factor_min: float = Field(
        default=0.69, ge=0, description="lowest score of price, and of volume or implied volatility; 0.69: 1 sd"
    )
    bias: float = -13.66
    # The labelled events are thin coins, whose volume and price jump a hundredfold. Rare moves on an exchange are
    # smaller: with these points RELIANCE fires on 8 of 69 days in 5-minute bars. A guess, not a fit.
    exchange_points: float = Field(default=6.3, description="added for the vendor's keys, such as 'NSE_EQ|...'")
    confidence_min: float = Field(default=0.35, ge=0, le=1, description="a bar fires from this confidence on")
    quiet_minutes: int = Field(
        default=60, ge=0, description="a bar that fires within this time after another continues its spike"
    )
    history_days: int = Field(default=10, ge=1, le=60, description="calendar days of bars read before the judged day")


DEFAULT = Rules()


def load_rules(path: Path) -> Rules:
    """Return the rules of a TOML file; missing settings are those of the default rules.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or has a setting that is unknown or out of range.
    """
    try:
        return Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise ConfigError(f"rules {str(path)!r} cannot be read: {exc.strerror}: name a TOML file") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"rules {str(path)!r} are not TOML: {exc}: correct the file") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(map(str, first["loc"]))
        text = f"rules {str(path)!r}: {place} {first['input']!r}: {lower_first(first['msg'])}: correct the file"
        raise ConfigError(text) from exc
