"""Rules of spike detection: windows, weights of each class of instrument, and limits, as one typed object.

Owns the numbers and their meanings. `default_rules.toml` beside this file has the built-in rules and why each number is
what it is; a user's file names only what differs. `tickline spikes fit` writes such a file.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from analytics.factors.factors import QUANTITIES
from analytics.factors.windows import Limited, Windows
from ingest.errors import ConfigError, lower_first

InstrumentClass = Literal["equity", "index", "future", "option", "other"]
CLASSES: tuple[InstrumentClass, ...] = get_args(InstrumentClass)


class ClassRules(Limited):
    """Weights of one class: log-odds added for each point of a factor's score.

    No weight is negative: whatever stands out more makes an alarm more likely.
    """

    bias: float
    price: float = Field(ge=0)
    confirm: tuple[dict[str, float], ...] = Field(
        min_length=1, description="of these sets only the one that adds most counts, since they are not independent"
    )
    alone_from: float = Field(
        default=0.0, ge=0, description="deviations of the move from which on a set that begins with it confirms it"
    )
    support: dict[str, float] = Field(default={}, description="added wherever it is known")
    early: float = Field(
        default=0.0, ge=0, description="given back where n earlier bars are few: times log((n + doubt_bars) / n)"
    )

    @field_validator("confirm", "support")
    @classmethod
    def _known_and_not_negative(cls, given: Any) -> Any:
        """Check names and signs of the factors."""
        for weights in given if isinstance(given, tuple) else (given,):
            for name, weight in weights.items():
                if name not in QUANTITIES:
                    raise ValueError(f"factor {name!r} is none of {', '.join(QUANTITIES)}")
                if not weight >= 0:
                    raise ValueError(f"weight {weight:g} of {name} is negative")
            if isinstance(given, tuple) and not weights:
                raise ValueError("a set without factors confirms nothing")
        return given


class Rules(Limited):
    """A rule set: confidence = 1 / (1 + exp(-(bias + sum of weight * score))), with the weights of the class."""

    name: str = Field(min_length=1, max_length=60, description="signals are stored with this name")
    windows: Windows = Windows()
    factor_min: float = Field(ge=0, description="lowest score of price, and of the first factor of a set that confirms")
    confidence_min: float = Field(ge=0, le=1, description="a bar fires from this confidence on")
    events_per_day: float = Field(
        gt=0, description="real events assumed for an instrument and day; confidence compares other alarms with them"
    )
    wider_bars: float = Field(ge=0, description="log-odds added for bars of more than a minute, times log(minutes)")
    signals_per_day: float | None = Field(
        default=None, gt=0, description="most signals wanted a day, of all instruments together; none: no limit"
    )
    quiet_minutes: int = Field(ge=0, description="a bar that fires within this time after another continues its event")
    join_minutes: int = Field(ge=0, description="others of the same underlying join an event within this time")
    severities: dict[Literal["medium", "high"], float] = Field(description="from which confidence an event is more")
    history_days: int = Field(ge=1, le=60, description="calendar days of bars read before the judged day")
    equity: ClassRules
    index: ClassRules
    future: ClassRules
    option: ClassRules
    other: ClassRules

    def of_class(self, name: InstrumentClass) -> ClassRules:
        """Return the weights of a class."""
        found = getattr(self, name)
        assert isinstance(found, ClassRules)
        return found


def rules(**changes: Any) -> Rules:
    """Return the built-in rules with changes.

    Raises
    ------
    pydantic.ValidationError
        If a setting is unknown or out of range.
    """
    return Rules.model_validate(_merged(_default(), changes))


def load_rules(path: Path | None) -> Rules:
    """Return the rules of a TOML file; None, and missing settings: those of the built-in rules.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or has a setting that is unknown or out of range.
    """
    if path is None:
        return DEFAULT
    try:
        return rules(**_from_one_class(tomllib.loads(path.read_text(encoding="utf-8"))))
    except OSError as exc:
        raise ConfigError(f"rules {str(path)!r} cannot be read: {exc.strerror}: name a TOML file") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"rules {str(path)!r} are not TOML: {exc}: correct the file") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(map(str, first["loc"]))
        text = f"rules {str(path)!r}: {place} {first['input']!r}: {lower_first(first['msg'])}: correct the file"
        raise ConfigError(text) from exc


@cache
def _default() -> dict[str, Any]:
    """Return the built-in rules as TOML has them."""
    return tomllib.loads((files("analytics.signals") / "default_rules.toml").read_text(encoding="utf-8"))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with changes; a set of weights is replaced as a whole."""
    whole = ("confirm", "support")
    return base | {
        name: _merged(base[name], value)
        if isinstance(value, dict) and isinstance(base.get(name), dict) and name not in whole
        else value
        for name, value in changes.items()
    }


def _from_one_class(given: dict[str, Any]) -> dict[str, Any]:
    """Return rules of the earlier form, which had one set of weights for all classes, in today's."""
    if not isinstance(given.get("weights", {}), dict) or not {"weights", "bias", "exchange_points"} & set(given):
        return given
    weights = {"price": 1.37, "volume": 1.69, "trades": 1.06, "iv": 2.0, "oi": 0.3} | given.get("weights", {})
    bias, points = given.get("bias", -13.66), given.get("exchange_points", 6.3)
    given = {"wider_bars": 0.0} | given
    own = {
        "price": weights.pop("price"),
        "confirm": [{name: weights.pop(name) for name in ("volume", "trades")}, {"iv": weights.pop("iv")}],
        "support": weights,
    }
    rest = {name: value for name, value in given.items() if name not in ("weights", "bias", "exchange_points")}
    return {name: own | {"bias": bias + points * (name != "other")} for name in CLASSES} | rest


DEFAULT = rules()
