"""A peer's connection to a rendezvous, one after the other, and bridges through its relay."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from sandpiper.core.rate import Bucket
from sandpiper.core.rendezvous import RvDial, RvHangUp, RvWrite
from sandpiper.errors import LinkError, LinkLost, LinkTimeout, RemoteProtocolError, SandpiperError
from sandpiper.net.link import MAX_OUTBOX
from sandpiper.net.proxies import proxy_for
from sandpiper.net.race import drop
from sandpiper.net.relays import first_relay, open_way
from sandpiper.wire.limits import MAX_LINE_BYTES
from sandpiper.wire.rendezvous import (
    MIN_TOKEN_BYTES,
    Bridge,
    Bridged,
    Observe,
    Observed,
    Ping,
    Refusal,
    decode_word,
    encode_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandpiper.core.rendezvous import Introduced, RvNotice
    from sandpiper.net.link import Pipe
    from sandpiper.net.proxies import Proxy
    from sandpiper.net.relays import RelayAddress, Way
    from sandpiper.wire.rendezvous import AnyWord

log = logging.getLogger(__name__)

BRIDGE_SECONDS = 35.0  # for the other side to come: the relay gives it 30
ANSWER_SECONDS = 10.0  # for one line
SPARE_SECONDS = 1.5  # that a connection waits for a bridge that may come; a hub takes it for a guest after 2
SPARE_RATE, SPARE_BURST = 0.2, 4.0  # such connections a second: whoever comes and goes has nobody dial all the time


class NoBridge(LinkError):
    """The relay did not make a bridge. `code` is the relay's."""

    code = "no_bridge"


class Lines:
    """Whole lines out of a pipe, each at most 64 KiB."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._held = b""

    async def read(self) -> bytes:
        """The next line, without its newline; blank ones are left out.

        Raises:
            LinkLost: the pipe has ended.
            RemoteProtocolError: a line does not end.
        """
        while True:
            line, end, rest = self._held.partition(b"\n")
            if end:
                self._held = rest
                if line.strip():
                    return line
                continue
            if len(line) >= MAX_LINE_BYTES:
                raise RemoteProtocolError("A line of the rendezvous does not end.", code="line_too_long")
            chunk = await self._pipe.read()
            if not chunk:
                raise LinkLost("The rendezvous has closed the connection.")
            self._held += chunk

    def rest(self) -> bytes:
        """What came behind the last line; it is not kept."""
        held, self._held = self._held, b""
        return held


class BridgePipe:
    """The other peer, through a relay: a `Pipe` of nothing but its bytes."""

    def __init__(self, pipe: Pipe, already: bytes) -> None:
        self.address = f"relay {pipe.address}"
        self._pipe = pipe
        self._already = already

    @property
    def pending(self) -> int:
        """See `Pipe.pending`."""
        return self._pipe.pending

    async def read(self) -> bytes:
        """See `Pipe.read`."""
        if self._already:
            already, self._already = self._already, b""
            return already
        return await self._pipe.read()

    def write(self, *parts: bytes) -> None:
        """See `Pipe.write`."""
        self._pipe.write(*parts)

    async def close(self) -> None:
        """See `Pipe.close`."""
        await self._pipe.close()

    def abort(self) -> None:
        """See `Pipe.abort`."""
        self._pipe.abort()


def new_token() -> bytes:
    """One that nobody can guess; the other side of a bridge gets it in a sealed signal."""
    return os.urandom(MIN_TOKEN_BYTES * 2)


async def bridge(
    relay: RelayAddress,
    token: bytes,
    proxies: Callable[[str], Proxy | None] = proxy_for,
    *,
    first: bytes = b"",
    way: Way | None = None,
) -> BridgePipe:
    """A pipe to whoever gives the same token to the same relay. `first` (at most 8 KiB) is said over it before it is
    known that they are there: that saves a round trip. `way`: a connection to the relay that is there already.

    Raises:
        DialFailed: the relay cannot be reached.
        NoBridge: it has refused, or nobody came.
        LinkLost: it broke off.
        LinkTimeout: nobody came, and it did not say so.
        RemoteProtocolError: it is no relay.
    """
    way = way or await open_way(relay, proxies(relay.host))
    pipe, lines = way.pipe, Lines(way.pipe)
    pipe.write(encode_line(Bridge(token=token)), first)
    try:
        async with asyncio.timeout(BRIDGE_SECONDS):
            match decode_word(await lines.read()):
                case Bridged():
                    return BridgePipe(pipe, lines.rest())
                case Refusal(code=code, text=text):
                    raise NoBridge(f"No bridge through {relay}: {text}", code=code)
                case _:
                    raise RemoteProtocolError(f"{relay} did not answer as a relay does.", code="bad_line")
    except TimeoutError as exc:
        pipe.abort()
        raise LinkTimeout(f"Nobody came to the bridge at {relay}.") from exc
    except BaseException:
        pipe.abort()
        raise


async def observe(
    relay: RelayAddress, proxies: Callable[[str], Proxy | None] = proxy_for, *, local_port: int = 0
) -> Observed:
    """How a rendezvous sees a connection from this port of ours (0: any). Raises: LinkError, RemoteProtocolError."""
    way = await open_way(relay, proxies(relay.host), local_port=local_port)
    try:
        return await observed_over(way, relay)
    finally:
        way.pipe.abort()


async def observed_over(way: Way, relay: RelayAddress) -> Observed:
    """How a rendezvous sees a connection on which nothing has been said yet; it stays open.

    Raises:
        LinkError: it breaks off, or says nothing.
        RemoteProtocolError: it is no rendezvous.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            way.pipe.write(encode_line(Observe()))
            lines = Lines(way.pipe)
            word: AnyWord = Ping()
            while isinstance(word, Ping):
                word = decode_word(await lines.read())
    except TimeoutError as exc:
        raise LinkTimeout(f"{relay} does not say how it sees us.") from exc
    if not isinstance(word, Observed):
        raise RemoteProtocolError(f"{relay} did not answer as a rendezvous does.", code="bad_line")
    return word


class _Spare:
    """A connection to a relay that is made before there is a use for it, and closed if none comes."""

    def __init__(self, relay: RelayAddress, proxies: Callable[[str], Proxy | None]) -> None:
        self.relay = relay
        loop = asyncio.get_running_loop()
        self._opening = loop.create_task(open_way(relay, proxies(relay.host)), name="spare connection")
        self._timer = loop.call_later(SPARE_SECONDS, self.drop)
        self.dropped = False

    def drop(self) -> None:
        """There is no use for it."""
        self._timer.cancel()
        self.dropped = True
        drop(self._opening, lambda way: way.pipe.abort())

    async def take(self) -> Way | None:
        """The connection, which is the caller's now, as soon as it is there; None: it could not be made."""
        self._timer.cancel()
        try:
            return await self._opening
        except (SandpiperError, OSError) as exc:
            log.debug("a connection ahead of time was not made: %s", exc)
            return None
        except BaseException:
            self.drop()
            raise


class RendezvousLink:
    """Keeps a peer connected to one of several rendezvous: dials, reads, writes, and calls it when its time has come.

    `tell` gets what it tells. After a wish to `guest`, call `carry_out`.
    """

    def __init__(
        self,
        relays: Sequence[RelayAddress],
        guest: Introduced,
        tell: Callable[[RvNotice], None],
        proxies: Callable[[str], Proxy | None] = proxy_for,
    ) -> None:
        self.relays = tuple(relays)
        self.guest = guest
        self.way: Way | None = None
        """The connection, with our own address and port of it."""
        self.relay: RelayAddress | None = None
        """The relay that it is to; bridges go there as well."""
        self.problem: LinkError | None = None
        """Why there is no connection."""
        self._tell = tell
        self._proxies = proxies
        self._loop = asyncio.get_running_loop()
        self._dial = asyncio.Event()
        self._stopping = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Future[tuple[RelayAddress, Way]] | None = None
        self._spare: _Spare | None = None
        self._spare_wanted = False  # as soon as there is a connection
        self._spares = Bucket(SPARE_RATE, SPARE_BURST, self._loop.time())
        self._hung_up = ""

    async def run(self) -> None:
        """Until `close`. Errors of the connection end in the guest, which tells of them."""
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._follow(), name="rendezvous")
            try:
                self.carry_out()
                await self._stopping.wait()
            finally:
                following.cancel()
                self._drop_spare()
        if self._timer is not None:
            self._timer.cancel()
        if self.way is not None:
            await self.way.pipe.close()

    def close(self) -> None:
        """Leave; `run` ends."""
        self._stopping.set()

    def network_changed(self, addresses: frozenset[str]) -> None:
        """Sleep is over, or our addresses are these by now: see whether the connection lives, make one at once else."""
        gone = self.way.host not in addresses if self.way is not None else self._opening is not None
        self._drop_spare()
        self.guest.network_changed(self._loop.time(), gone=gone)
        if self._opening is not None:
            self._opening.cancel()
        self.carry_out()

    def renew(self) -> None:
        """Make another connection at once, from another port of ours."""
        self.guest.network_changed(self._loop.time(), gone=True)
        self.carry_out()

    async def bridge(self, token: bytes, *, first: bytes = b"") -> BridgePipe:
        """As the function of this name, through the relay that is used now.

        Raises:
            LinkLost: there is none.
        """
        relay, spare = self.relay, self._spare
        if relay is None:
            raise LinkLost("There is no relay just now.")
        if spare is not None and spare.relay == relay and not spare.dropped:
            self._spare = None
            if (way := await spare.take()) is not None:
                try:
                    return await bridge(relay, token, self._proxies, first=first, way=way)
                except (LinkLost, NoBridge, RemoteProtocolError) as exc:
                    if exc.code in ("nobody_came", "too_many_bridges"):
                        raise
                    log.debug("a connection ahead of time was of no use: %s", exc)
        return await bridge(relay, token, self._proxies, first=first)

    def prepare(self) -> None:
        """A bridge may be wanted in a moment: connect for it already (as soon as we are connected at all), which takes
        one round trip, or two with TLS.
        """
        if self.way is None or self.relay is None or self._stopping.is_set():
            self._spare_wanted = True
            return
        self._spare_wanted = False
        there = self._spare is not None and not self._spare.dropped
        if not there and self._spares.take(self._loop.time()):
            self._spare = _Spare(self.relay, self._proxies)

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.drop()
            self._spare = None

    def carry_out(self) -> None:
        """Do and tell what the guest wants."""
        while effects := self.guest.flush():  # whoever is told may have wishes
            for effect in effects:
                match effect:
                    case RvWrite(raw=raw):
                        if self.way is not None:
                            if self.way.pipe.pending > MAX_OUTBOX:
                                self.way.pipe.abort()
                            else:
                                self.way.pipe.write(raw)
                    case RvDial():
                        self._dial.set()
                    case RvHangUp(reason=reason):
                        log.info("rendezvous: hanging up")
                        self._hung_up = reason
                        if self.way is not None:
                            self.way.pipe.abort()
                    case _:
                        self._tell(effect)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.guest.deadline()
        if due is not None and not self._stopping.is_set():
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.guest.tick(self._loop.time())
        self.carry_out()

    async def _follow(self) -> None:
        while True:
            await self._dial.wait()
            self._dial.clear()
            reason = self._hung_up = ""
            try:
                self.relay, self.way = await self._open()
                self.problem = None
                self.guest.connected(self._loop.time())
                self.carry_out()
                if self._spare_wanted:
                    self.prepare()
                lines = Lines(self.way.pipe)
                while not self._hung_up:
                    self.guest.heard(await lines.read(), self._loop.time())
                    self.carry_out()
            except (LinkError, RemoteProtocolError) as exc:
                self.problem = exc if isinstance(exc, LinkError) else None
                reason = self._hung_up or exc.sentence()
            finally:
                if self.way is not None:
                    self.way.pipe.abort()
                self.way = None
                self._drop_spare()
                self._spare_wanted = False
            self.guest.lost(reason or self._hung_up, self._loop.time())
            self.carry_out()

    async def _open(self) -> tuple[RelayAddress, Way]:
        """Raises: LinkError: none of the relays answers, or our addresses have changed meanwhile."""
        self._opening = opening = asyncio.ensure_future(first_relay(self.relays, self._proxies))
        try:
            await asyncio.wait((opening,))
            if opening.cancelled():
                raise LinkLost("The network has changed.")
            return opening.result()
        finally:
            self._opening = None
            opening.cancel()
