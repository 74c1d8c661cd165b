"""Windows of features: how many bars each looks back on, with their limits."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limited(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Windows(Limited):
    """What a bar is compared with. Counts are bars, of whatever interval the bars have."""

    spike_bars: int = Field(
        default=5, ge=1, le=60, description="a spike is judged over this many bars, the newest last"
    )
    span_bars: int = Field(default=2880, ge=20, description="span of the exponential memory of what is usual")
    warmup_bars: int = Field(
        default=30, ge=10, description="no judgement before an instrument has shown this many bars"
    )
    doubt_bars: int = Field(default=120, ge=0, description="history of n bars counts n / (n + this)")
    usual_days: int = Field(default=20, ge=1, description="earlier days that say what is usual at a time of day")
    usual_days_min: int = Field(default=3, ge=1, description="fewer earlier days say nothing")
    iv_deviation_min: float = Field(
        default=0.002, ge=0, description="implied volatility never counts as steadier than this; 0.002: 0.2 points"
    )
    step_bars_max: int = Field(default=15, ge=1, description="no bar for longer than this ends a run of bars")
