"""The rendezvous and the relay on sockets: a connection's lines go to the desk, or the connection to the relay."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from sandpiper.hub.metrics import Family
from sandpiper.hub.relay.bridges import Bridges
from sandpiper.hub.rendezvous.desk import Desk, End, HandOver, Seen, Tell
from sandpiper.hub.rendezvous.limits import MAX_BACKLOG_BYTES, SWEEP
from sandpiper.hub.rendezvous.quotas import Quotas
from sandpiper.wire.limits import MAX_LINE_BYTES
from sandpiper.wire.rendezvous import Refusal, encode_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sandpiper.core.events import Now
    from sandpiper.hub.counts import Tally
    from sandpiper.hub.rendezvous.desk import Effect
    from sandpiper.hub.rendezvous.limits import RendezvousSettings

log = logging.getLogger(__name__)

FAREWELL_SECONDS = 3.0  # for the last lines of a connection that is closed to be taken
CLOSING_SECONDS = 1.0  # for the goodbye to be taken by all: they are back by themselves, whether they have it or not


class Introductions:
    """All who use the rendezvous or the relay. `look` is to be called about once a second."""

    def __init__(self, settings: RendezvousSettings, now: Callable[[], Now]) -> None:
        self.settings = settings
        self.now = now
        quotas = Quotas(settings)
        self.quotas = quotas
        self.desk = Desk(quotas, random.SystemRandom().randrange)
        self.bridges = Bridges(quotas, asyncio.get_running_loop().time)
        self.callers: dict[int, Caller] = {}
        self.turned_away = 0
        self._numbers = 0
        self._looked = 0.0
        self._alone = asyncio.Event()

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self.callers) + len(self.bridges)

    # ------------------------------------------------------------ connections

    def seat(self, transport: asyncio.Transport, buffer: memoryview, seen: Seen, first: bytes) -> None:
        """This connection has begun with `first`; it is ours from now on. What it sends is read into `buffer`, which
        it shares with others.
        """
        full = len(self) >= self.settings.guests
        if full or not self.quotas.take("guests", seen.address, self.now().mono):
            self.turned_away += 1
            whose = "The rendezvous is full" if full else "Your address has too many connections here"
            transport.write(encode_line(Refusal(code="full", text=f"{whose}; try again later.")))
            transport.set_protocol(asyncio.Protocol())
            transport.close()
            return
        self._numbers += 1
        caller = Caller(self, self._numbers, seen, buffer)
        self.callers[caller.number] = caller
        self.desk.enter(caller.number, seen, self.now())
        transport.set_protocol(caller)
        caller.connection_made(transport)
        caller.take(first)

    def heard(self, caller: Caller, line: bytes) -> None:
        """One of its lines."""
        self._do(self.desk.hear(caller.number, line, self.now()))

    def too_long(self, caller: Caller) -> None:
        """A line of it does not end."""
        self._do(self.desk.too_long(caller.number))

    def gone(self, caller: Caller) -> None:
        """Its connection has ended."""
        if self.callers.pop(caller.number, None) is not None:
            self.quotas.give_back("guests", caller.seen.address)
            self._do(self.desk.gone(caller.number, self.now()))
            if not self.callers:
                self._alone.set()

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Tell(guest=number, word=word):
                    caller = self.callers.get(number)
                    if caller is not None:
                        caller.write(encode_line(word))
                case End(guest=number, why=why):
                    caller = self.callers.get(number)
                    if caller is not None:
                        log.debug("rendezvous guest %d: closed (%s)", number, why)
                        caller.close()
                case HandOver(guest=number, token=token):
                    self._hand_over(self.callers[number], token)

    def _hand_over(self, caller: Caller, token: bytes) -> None:
        del self.callers[caller.number]
        self.quotas.give_back("guests", caller.seen.address)
        transport, early = caller.let_go()
        refusal = self.bridges.refusal(caller.seen.address, token)
        if refusal is not None:
            self.desk.refusals.add(refusal.code)
            transport.write(encode_line(refusal))
            transport.set_protocol(asyncio.Protocol())
            transport.close()
        else:
            self.bridges.join(transport, token, caller.seen.address, early)

    # ------------------------------------------------------------ time

    def look(self, now: Now) -> None:
        """What is due."""
        if now.mono - self._looked < SWEEP:
            return
        self._looked = now.mono
        self._do(self.desk.tick(now))
        self.bridges.look(asyncio.get_running_loop().time())
        for caller in tuple(self.callers.values()):
            if caller.closing and now.mono - caller.closing >= FAREWELL_SECONDS:
                caller.abort()

    async def aclose(self) -> None:
        """Tell everybody that we close, so that they register anew; bridges end."""
        self._do(self.desk.close())
        self.bridges.close()
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                if self.callers:
                    self._alone.clear()
                    await self._alone.wait()
                await self.bridges.over()
        except TimeoutError:
            pass
        for caller in tuple(self.callers.values()):
            caller.abort()
        self.bridges.abort()

    # ------------------------------------------------------------ figures

    def figures(self) -> str:
        """For the log."""
        desk, bridges = self.desk, self.bridges
        return (
            f"{len(self.callers)} peers at the rendezvous, {desk.registrations} registrations, "
            f"{len(desk.nameplates)} codes; {bridges.made:,} bridges since the start, {bridges.bytes:,} bytes"
        )

    def families(self) -> Iterator[Family]:
        """For the metrics."""
        desk, bridges = self.desk, self.bridges
        yield _one("rendezvous_guests", "Connections of the rendezvous.", len(self.callers))
        yield _one("rendezvous_registrations", "Peers in rooms of the rendezvous.", desk.registrations)
        yield _one("rendezvous_rooms", "Rooms of the rendezvous.", len(desk.rooms))
        yield _one("rendezvous_codes", "Nameplates in use.", len(desk.nameplates))
        yield _one("rendezvous_addresses", "Addresses that are counted.", len(self.quotas))
        yield _by("rendezvous_asks_total", "Lines of peers, by type.", "type", desk.asks)
        yield _by("rendezvous_refusals_total", "What peers were refused.", "code", desk.refusals)
        yield _one("rendezvous_turned_away_total", "Connections that were too many.", self.turned_away, total=True)
        yield _one("relay_connections", "Connections of bridges.", len(bridges))
        yield _one("relay_waiting", "Those whose other half is not there.", bridges.waiting)
        yield _one("relay_held_bytes", "Bytes that the other side has not taken.", bridges.held)
        yield _one("relay_bridges_total", "Bridges made.", bridges.made, total=True)
        yield _one("relay_bytes_total", "Bytes passed through them.", bridges.bytes, total=True)
        yield _by("relay_ends_total", "Bridges that have ended.", "why", bridges.ends)


class Caller(asyncio.BufferedProtocol):
    """One connection of the rendezvous: whole lines in, lines out, both bounded."""

    __slots__ = ("_buffer", "_introductions", "_partial", "_rest", "_transport", "closing", "number", "seen")

    def __init__(self, introductions: Introductions, number: int, seen: Seen, buffer: memoryview) -> None:
        self.number = number
        self.seen = seen
        self.closing = 0.0
        """Since when, in seconds; 0: it is open."""
        self._introductions = introductions
        self._buffer = buffer
        self._partial = b""
        self._rest: tuple[list[bytes], int] = ([], 0)  # what came with the line that is dealt with: from where on
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._introductions.gone(self)

    def let_go(self) -> tuple[asyncio.Transport, bytes]:
        """Somebody else has the connection from now on, and what was read of it behind the last line."""
        transport, (lines, at) = self._transport, self._rest
        assert transport is not None
        self._transport, self._rest = None, ([], 0)
        return transport, b"\n".join(lines[at:])

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self.take(bytes(self._buffer[:nbytes]))

    def take(self, chunk: bytes) -> None:
        """Bytes that it has sent."""
        lines = (self._partial + chunk).split(b"\n")
        self._partial = b""
        for at, line in enumerate(lines[:-1]):
            if self.closing:
                return
            if line.strip():
                self._rest = (lines, at + 1)
                self._introductions.heard(self, line)
                if self._transport is None:  # it is the relay's, with whatever follows
                    return
        self._rest = ([], 0)
        if self.closing:
            return
        self._partial = lines[-1]
        if len(self._partial) >= MAX_LINE_BYTES:
            self._partial = b""
            self._introductions.too_long(self)

    def write(self, raw: bytes) -> None:
        """Write now or as soon as it takes it; who takes too little is cut."""
        transport = self._transport
        if transport is None or self.closing or transport.is_closing():
            return
        transport.write(raw)
        if transport.get_write_buffer_size() > MAX_BACKLOG_BYTES:
            log.info("rendezvous guest %d does not read: cut", self.number)
            self._introductions.desk.refusals.add("too_slow")
            self.abort()

    def close(self) -> None:
        """Write nothing more. The other side closes first, if it does so soon: it may still send, and would lose our
        reason if we did.
        """
        transport = self._transport
        if transport is None or self.closing:
            return
        self.closing = self._introductions.now().mono
        if transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
        else:
            transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def _one(name: str, about: str, value: float, *, total: bool = False) -> Family:
    return Family(f"sandpiper_hub_{name}", "counter" if total else "gauge", about, (({}, value),))


def _by(name: str, about: str, label: str, tally: Tally) -> Family:
    samples = tuple(({label: word}, float(count)) for word, count in tally.items())
    return Family(f"sandpiper_hub_{name}", "counter", about, samples)
