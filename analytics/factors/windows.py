"""Windows of features: how many bars each feature looks back, with limits."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limited(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Windows(Limited):
    """Lengths of the windows that a bar is compared with, in bars of any interval unless noted."""

    spike_bars: int = Field(
        default=5, ge=1, le=60, description="a spike is judged over this many bars, the newest last"
    )
    span_bars: int = Field(default=2880, ge=20, description="span of the exponential averages that define usual")
    warmup_bars: int = Field(default=30, ge=10, description="an instrument is judged only after this many bars")
    doubt_bars: int = Field(default=120, ge=0, description="history of n bars counts n / (n + this)")
    usual_days: int = Field(default=20, ge=1, description="earlier days that define usual at a time of day")
    usual_days_min: int = Field(default=3, ge=1, description="with fewer earlier days, usual is not known")
    iv_deviation_min: float = Field(
        default=0.002, ge=0, description="smallest deviation assumed for implied volatility; 0.002: 0.2 points"
    )
    step_bars_max: int = Field(default=15, ge=1, description="a longer time without a bar ends a run of bars")
