from typing import Any

from ingest.model.frames import Updates
from ingest.model.ticks import Integers
from ingest.normalise.instrument_states import InstrumentStates

def judge(
    updates: Updates,
    ends: Integers,
    current_ms: Integers,
    seq: Integers,
    received_us: Integers,
    states: InstrumentStates,
) -> tuple[Any, ...] | None: ...
