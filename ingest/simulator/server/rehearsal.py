"""Run a bad day on a simulator, by the clock. Owns the timing; the simulator does the actions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ingest.simulator.server.app import Simulator
from ingest.simulator.server.faults import Act, BadDay, Turn
from ingest.simulator.server.odd_data import odd_status


class Rehearsal:
    """Change a simulator's faults according to a plan.

    Parameters
    ----------
    day
        The plan. Faults from second 0 apply at once.
    simulator
        The simulator to change.
    say
        Called with each event, as a line of text.
    """

    def __init__(self, day: BadDay, simulator: Simulator, say: Callable[[str], None]) -> None:
        self._day, self._simulator, self._say = day, simulator, say
        simulator.faults.seed = day.seed
        self._switch(0.0)

    async def run(self) -> None:
        """Wait for the first client, then act when due. Ends only by cancellation."""
        await self._simulator.called.wait()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for turn in self._day.turns():
            await asyncio.sleep(began + turn.at_s - loop.time())
            await self._do(turn)
        await asyncio.Event().wait()

    async def _do(self, turn: Turn) -> None:
        simulator, clients = self._simulator, self._simulator.connections
        match turn.act:
            case Act.SWITCH:
                self._switch(turn.at_s)
            case Act.DROP:
                self._tell(turn.at_s, f"{clients} connections cut")
                simulator.drop_all()
            case Act.CLOSE:
                self._tell(turn.at_s, f"{clients} connections closed with {turn.value}")
                await simulator.close_all(turn.value)
            case Act.EXPIRE:
                token = f"{simulator.token}-2"
                self._tell(turn.at_s, f"token expired, {clients} connections cut; now set UPSTOX_ACCESS_TOKEN={token}")
                simulator.expire_token(token)
            case Act.ODD_STATUS:
                simulator.player.say(odd_status(turn.value, simulator.player.now_ms))
                self._tell(turn.at_s, "odd market_info sent")
            case Act.TRUE_STATUS:
                simulator.player.say_status()
                self._tell(turn.at_s, "true market_info sent")

    def _switch(self, at_s: float) -> None:
        for text in self._day.switch(self._simulator.faults, at_s, self._simulator.source.keys):
            self._tell(at_s, text)

    def _tell(self, at_s: float, text: str) -> None:
        self._say(f"fault at {at_s:g} s: {text}")
