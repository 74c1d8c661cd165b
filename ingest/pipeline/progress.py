"""Progress: show how far a run has come while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Shown = TypeVar("Shown")


async def show_along(shown: Shown, show: Callable[[Shown], None]) -> None:
    """Call `show` with `shown` once a second, until cancelled."""
    while True:
        await asyncio.sleep(1.0)
        show(shown)
