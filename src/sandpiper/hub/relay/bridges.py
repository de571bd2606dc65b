"""All bridges of a relay: who waits for whom, how many there may be, and when they end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sandpiper.hub.counts import Tally
from sandpiper.hub.relay.half import Half
from sandpiper.hub.rendezvous.limits import (
    BRIDGE_CHUNK,
    BRIDGE_IDLE_SECONDS,
    HALF_CLOSED_SECONDS,
    MAX_EARLY_BYTES,
    WAITING_SECONDS,
)
from sandpiper.wire.rendezvous import Bridged, Refusal, encode_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.hub.rendezvous.quotas import Quotas

log = logging.getLogger(__name__)

_BRIDGED = encode_line(Bridged())


class Bridges:
    """The relay (a `Yard`)."""

    def __init__(self, quotas: Quotas, now: Callable[[], float]) -> None:
        self.quotas = quotas
        self.now = now
        self.buffer = memoryview(bytearray(BRIDGE_CHUNK))
        self.ends = Tally()
        """Bridges and waiting halves that have ended, by why."""
        self.made = 0
        self.bytes = 0
        self._waiting: dict[bytes, Half] = {}
        self._halves: set[Half] = set()
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        """How many connections it has, of pairs and of those who wait."""
        return len(self._halves)

    @property
    def waiting(self) -> int:
        """How many wait for their other half."""
        return len(self._waiting)

    @property
    def held(self) -> int:
        """Bytes that were read and not taken by the other side."""
        return sum(half.held for half in self._halves)

    # ------------------------------------------------------------ making one

    def refusal(self, address: str, token: bytes) -> Refusal | None:
        """Why a connection from there may not be a half; None: it may, and is counted from now on."""
        settings = self.quotas.settings
        if token not in self._waiting and (len(self._halves) + self.waiting) // 2 >= settings.bridges:
            return Refusal(code="full", text="The relay is full; try again later.", about="bridge")
        if not self.quotas.take("bridges", address, self.now()):
            text = f"Your address has {settings.bridges_an_address} bridges, which is all it may have."
            return Refusal(code="too_many_bridges", text=text, about="bridge")
        return None

    def join(self, transport: asyncio.Transport, token: bytes, address: str, early: bytes) -> None:
        """This connection gives this token. `early` came behind it."""
        half = Half(self, token, address, early)
        self._halves.add(half)
        transport.set_protocol(half)
        half.connection_made(transport)
        other = self._waiting.pop(token, None)
        if other is None:
            self._waiting[token] = half
            if len(early) > MAX_EARLY_BYTES:
                self._drop(half, "too_early", "Too much was sent before the other side was there.")
            return
        self.made += 1
        half.splice(other, _BRIDGED)
        other.splice(half, _BRIDGED)

    # ------------------------------------------------------------ while it runs

    def relayed(self, half: Half, count: int) -> float:
        """See `Yard`."""
        self.bytes += count
        return self.quotas.relay(half.address, count, half.heard) if half.address else 0.0

    def ended(self, half: Half) -> None:
        """See `Yard`."""
        self._halves.discard(half)
        if not self._halves:
            self._empty.set()
        self.quotas.give_back("bridges", half.address)
        if self._waiting.get(half.token) is half:
            del self._waiting[half.token]
        other, half.other = half.other, None
        if other is not None:
            other.other = None
            self.ends.add("closed")
            other.close()

    def look(self, now: float) -> None:
        """End what waits or is idle for too long. `now` in seconds."""
        for half in tuple(self._halves):
            other = half.other
            if half.closing_since:
                if now - half.closing_since >= HALF_CLOSED_SECONDS:
                    half.abort()
            elif other is None:
                if now - half.heard >= WAITING_SECONDS:
                    self._drop(half, "nobody_came", f"The other side did not come within {WAITING_SECONDS:.0f} s.")
            else:
                quiet = now - max(half.heard, other.heard)
                if quiet >= (HALF_CLOSED_SECONDS if half.ended or other.ended else BRIDGE_IDLE_SECONDS):
                    self.ends.add("idle")
                    half.abort()

    def _drop(self, half: Half, code: str, text: str) -> None:
        self.ends.add(code)
        self._waiting.pop(half.token, None)
        half.tell_and_close(encode_line(Refusal(code=code, text=text, about="bridge")))

    def close(self) -> None:
        """End all of them; what was read is still sent, for as long as the program lives."""
        for half in tuple(self._halves):
            half.close()

    async def over(self) -> None:
        """Wait until there is none."""
        if self._halves:
            self._empty.clear()
            await self._empty.wait()

    def abort(self) -> None:
        """End all of them now."""
        for half in tuple(self._halves):
            half.abort()
