"""Run the ingester: tasks, start and stop, watchdog, status, HTTP API and user handlers.

    from ingest.live import TickRecorder

Must not know the command line. `TickRecorder` and `Tick` are imported at first use, so that a command that only
reads the status does not load them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.live.recorder import TickRecorder
    from ingest.live.tick_handlers import Tick

__all__ = ["Tick", "TickRecorder"]
_MODULES = {"Tick": "tick_handlers", "TickRecorder": "recorder"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
