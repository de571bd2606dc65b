"""All links of a node: listening, dialling whom the mesh names, and one task a link that reads its frames."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

from sandpiper.core.joining import ADMIT_SECONDS
from sandpiper.core.keepalive import DOUBT_SECONDS, GONE_DOUBT_SECONDS, Due, Keepalive
from sandpiper.errors import LinkError, LinkLost, RemoteProtocolError, SandpiperError
from sandpiper.net.intake import Checked, Intake
from sandpiper.net.secure import Unwanted, accept_secure, comes_with_code, dial_secure
from sandpiper.net.tcp import TcpPipe, dial, host_of
from sandpiper.wire.admission import LinkFrame, Settled, decode_link
from sandpiper.wire.frames import Bye, Ping, Pong, encode_frame
from sandpiper.wire.limits import HANDSHAKE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.events import Now, PathKind
    from sandpiper.core.mesh import Mesh, Target
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.link import Link, Pipe
    from sandpiper.wire.ids import PeerKey, RoomId
    from sandpiper.wire.records import Record

log = logging.getLogger(__name__)

FRAMES_A_TURN = 32  # frames of one link that take effect before others have a turn
MAX_LINKS = 200  # with files and beacons below the 256 open files that macOS grants
RETIRED_SECONDS = 2.0  # a link stays open behind a better one: what it has on its way, its end too, is the later news
OLDER_SECONDS, OLDER_LOOKS = 1.0, 50  # for a word over the older link of two to one peer, if it lives
MAX_HANDSHAKES = 32  # strangers that have not proven who they are, at one time
PLAIN_REFUSAL = (
    b'{"type":"error","text":"This is Sandpiper. It speaks the old p2pchat dialect only when started as p2pchat,'
    b' or with --compat p2pchat.","code":"plain_refused"}\n'
)


class PlainDialect(Protocol):
    """Whoever serves callers that begin with `{` (see `sandpiper.net.p2pchat`)."""

    async def serve(self, pipe: Pipe, already: bytes) -> None:
        """Talk to a caller of the old dialect until it is gone; `already` was read before."""
        ...


class CodeDialect(Protocol):
    """Whoever serves callers that come with a code (see `sandpiper.node.door`)."""

    async def serve(self, pipe: Pipe, already: bytes = b"") -> tuple[Link, RoomId] | None:
        """The link to a caller, ready for what all links carry, and the room that it was let into; None: it was not,
        and the pipe is closed. `already` was read before.
        """
        ...


class LinkEvents(Protocol):
    """What the owner of the links wants to know. Called on the event loop, one at a time."""

    def link_up(self, link: Link, room: RoomId | None) -> None:
        """A link is ready (or takes the place of an older one to the same peer). `room`: the other side has just been
        let into it, over this link.
        """
        ...

    def link_down(self, peer: PeerKey, reason: str) -> None:
        """The link to `peer` has ended."""
        ...

    def check(self, peer: PeerKey, frame: LinkFrame) -> Checked:
        """The records that a frame carries, with checked signatures, now or soon; none for most frames.

        Raises:
            BadRecord: one does not hold.
        """
        ...

    def frame(self, peer: PeerKey, frame: LinkFrame, records: tuple[Record, ...]) -> None:
        """A frame came; `records` are what `check` gave."""
        ...


class Links:
    """The links of one node. Everything it starts lives in `tasks`."""

    def __init__(
        self,
        identity: Identity,
        mesh: Mesh,
        events: LinkEvents,
        tasks: asyncio.TaskGroup,
        now: Callable[[], Now],
        plain: PlainDialect | None = None,
        changed: Callable[[], None] = lambda: None,
        path: Callable[[str], PathKind] = lambda _host: "lan",
    ) -> None:
        """`changed` is called when `deadline` may be sooner than before; `path(host)` is what a link to there is."""
        self._identity = identity
        self._mesh = mesh
        self._events = events
        self._tasks = tasks
        self._now = now
        self._plain = plain
        self._changed = changed
        self._path = path
        self.door: CodeDialect | None = None
        """Who lets in callers with a code."""
        self._links: dict[PeerKey, Link] = {}
        self._ending: dict[Link, str] = {}  # links that we have closed and whose tasks have not ended yet, and why
        self._settling: set[Link] = set()  # of joiners who are linked already
        self._retired: dict[Link, asyncio.TimerHandle] = {}  # better ones have taken their places; nothing counts there
        self._keepalive = Keepalive()
        self._strangers: dict[asyncio.Task[None], Pipe] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._closing = False

    def get(self, peer: PeerKey) -> Link | None:
        """The live link to `peer`."""
        return self._links.get(peer)

    def rtt(self, peer: PeerKey) -> float | None:
        """The last measured round trip to `peer` in seconds."""
        return self._keepalive.rtt(peer)

    # ------------------------------------------------------------ time

    def deadline(self) -> float | None:
        """When `tick` wants to be called next."""
        times = [t for t in (self._mesh.deadline(), self._keepalive.deadline()) if t is not None]
        return min(times, default=None)

    def tick(self) -> None:
        """Dial, ping and give up whatever is due."""
        if self._closing:  # a timer that was on its way: nothing may begin any more
            return
        now = self._now()
        for target in self._mesh.due(now):
            task = self._tasks.create_task(self._dial(target), name=f"dial {target.host}:{target.port}")
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)
        self._live(self._keepalive.due(now))

    def network_changed(self, *, gone: bool = False) -> None:
        """Sleep is over or an address has come or (`gone`) gone: doubt every link, dial everyone at once."""
        now = self._now()
        self._mesh.retry_now(now)
        self._live(self._keepalive.doubt_all(now, GONE_DOUBT_SECONDS if gone else DOUBT_SECONDS))

    def doubt(self, peer: PeerKey) -> None:
        """`peer` is said to know nothing of our link: it must show life at once."""
        self._live(self._keepalive.doubt(peer, self._now(), GONE_DOUBT_SECONDS))
        self._changed()

    def _live(self, due: Due) -> None:
        for peer, number in due.ping:
            self.send(peer, encode_frame(Ping(number)))
        for peer in due.dead:
            link = self._links.get(peer)
            if link is not None and link not in self._ending:
                log.info("link to %s is silent: closed", link.address)
                self._ending[link] = f"{link.address} does not answer any more."
                link.abort()

    # ------------------------------------------------------------ sending

    def send(self, peer: PeerKey, frame: bytes) -> None:
        """Offer one encoded frame; a link that is full is closed, sync refills it later."""
        link = self._links.get(peer)
        if link is not None and link not in self._ending and not link.offer(frame):
            log.warning("link to %s takes nothing any more: closed", link.address)
            self._ending[link] = f"{link.address} was too slow."
            link.abort()

    def hang_up(self, peer: PeerKey, code: str, reason: str) -> None:
        """Say why, and close; nothing that comes after this is looked at."""
        link = self._links.get(peer)
        if link is not None and link not in self._ending:
            log.info("closing the link to %s: %s (%s)", link.address, reason, code)
            self._end(link, code, reason)

    def hang_up_all(self, code: str, reason: str) -> None:
        """Say why, and close every link; those who can will be linked again."""
        for peer in tuple(self._links):
            self.hang_up(peer, code, reason)

    def _end(self, link: Link, code: str, reason: str) -> None:
        self._ending[link] = reason
        link.offer(encode_frame(Bye(code[:32], reason[:400])))
        if not self._closing:  # else all are being closed
            self._tasks.create_task(link.close(), name=f"close {link.address}")

    async def close_all(self) -> None:
        """Say goodbye to everyone; whoever is not linked yet is left standing."""
        self._closing = True
        for task, pipe in tuple(self._strangers.items()):
            task.cancel()
            pipe.abort()  # a task that has not begun yet does not
        for task in tuple(self._dials):
            task.cancel()
        links = list(self._links.values())
        for link in tuple(self._retired):
            self._retired.pop(link).cancel()
            link.abort()
        for link in self._settling:
            link.abort()
        for link in links:
            link.offer(encode_frame(Bye("leaving")))
        await asyncio.gather(*(link.close() for link in links))

    # ------------------------------------------------------------ getting links

    def accepted(self, pipe: TcpPipe) -> None:
        """A caller came."""
        if self._closing:
            pipe.abort()
            return
        if len(self._strangers) >= MAX_HANDSHAKES:
            # An honest caller is done in milliseconds: whoever has waited longest is none, and makes room.
            oldest, waiting = next(iter(self._strangers.items()))
            log.warning("too many callers that prove nothing: %s dropped", waiting.address)
            del self._strangers[oldest]
            oldest.cancel()
            waiting.abort()
        task = self._tasks.create_task(self._incoming(pipe), name=f"incoming {pipe.address}")
        self._strangers[task] = pipe
        task.add_done_callback(self._no_stranger)

    def _no_stranger(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            self._strangers.pop(task, None)

    async def _incoming(self, pipe: TcpPipe) -> None:
        link: Link | None = None
        coded: bool | None = False
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                already = more = await pipe.read()
                while more and (coded := comes_with_code(already)) is None:
                    already += (more := await pipe.read())
                if already[:1] != b"{" and not (coded and self.door is not None):
                    link = await accept_secure(pipe, self._identity, already, path=self._path(host_of(pipe.address)))
        except TimeoutError:
            log.info("%s called and did not say who it is in time", pipe.address)
            pipe.abort()
            return
        except (LinkError, RemoteProtocolError) as exc:
            log.info("caller %s refused: %s", pipe.address, exc.sentence())
            pipe.abort()
            return
        except BaseException:
            pipe.abort()
            raise
        room: RoomId | None = None
        if coded and self.door is not None:
            link, room = await self.door.serve(pipe, already) or (None, None)
        elif link is None:
            await self._old_dialect(pipe, already)
        if link is None:
            return
        self._no_stranger(asyncio.current_task())
        await self._live_link(link, room)

    async def _old_dialect(self, pipe: TcpPipe, already: bytes) -> None:
        try:
            if self._plain is None:
                log.info("%s speaks the old dialect, which is not switched on", pipe.address)
                pipe.write(PLAIN_REFUSAL)
                await pipe.close()
                return
            self._no_stranger(asyncio.current_task())
            await self._plain.serve(pipe, already)
        except BaseException:
            pipe.abort()
            raise

    async def _dial(self, target: Target) -> None:
        link: Link | None = None
        met: PeerKey | None = None
        try:
            pipe = await dial(target.host, target.port)
            # A beacon comes from this network; what a person names may be anywhere.
            path = "lan" if target.peer is not None else self._path(host_of(pipe.address))
            link = await dial_secure(pipe, self._identity, lambda peer: self._wanted(target, peer, path), path=path)
            met = link.peer
        except Unwanted as exc:
            met = exc.peer
            log.debug("dialling %s:%d: %s", target.host, target.port, exc)
        except (LinkError, RemoteProtocolError) as exc:
            log.debug("dialling failed: %s", exc.sentence())
        finally:
            self._mesh.dialled(target, met, self._now())
            self._changed()
        if link is not None:
            task = asyncio.current_task()
            if task is not None:
                self._dials.discard(task)
            await self._live_link(link)

    def _wanted(self, target: Target, peer: PeerKey, path: PathKind) -> bool:
        """Asked before the other side takes us for linked, so that it never gives up a good link for nothing."""
        return target.peer in (None, peer) and self._mesh.betters(peer, path)

    def adopt(self, link: Link, room: RoomId | None = None) -> None:
        """A link that was made elsewhere is one of ours from now on. `room` as for `LinkEvents.link_up`."""
        if self._closing:
            link.abort()
            return
        task = self._tasks.create_task(self._live_link(link, room), name=f"link {link.address}")
        task.add_done_callback(lambda _: link.abort())  # also when it has not begun

    def _far(self, peer: PeerKey) -> bool:
        """Not linked, or over a relay, or in doubt: that link may be one that the other side has lost."""
        link = self._links.get(peer)
        return link is None or link.path == "relay" or self._keepalive.doubted(peer)

    async def over_relay(self, pipe: Pipe, peer: PeerKey, *, dial: bool) -> bool:
        """Make a link to this very peer over a bridge; `dial`: ours is the first word. False: it was not to be.

        Raises:
            LinkError, RemoteProtocolError: the handshake failed.
        """
        if dial:
            link = await dial_secure(pipe, self._identity, lambda met: met == peer and self._far(met), path="relay")
        else:
            link = await accept_secure(pipe, self._identity, path="relay")
        if link.peer != peer:
            link.abort()
            return False
        self.adopt(link)
        return True

    async def _live_link(self, link: Link, room: RoomId | None = None) -> None:
        """Read frames of a proven link until it ends."""
        peer = link.peer
        if peer == self._identity.key:
            link.offer(encode_frame(Bye("same_key", "this peer has the same key as you")))
            await link.close()
            return
        if peer not in self._links and len(self._links) >= MAX_LINKS:
            log.warning("%d links are enough: %s refused", MAX_LINKS, link.address)
            link.offer(encode_frame(Bye("full", f"this peer has {MAX_LINKS} links already")))
            await link.close()
            return
        if room is not None and peer in self._links and not await self._settled(link):
            return
        doubted = self._keepalive.doubted(peer)
        if not self._mesh.keep(peer, self._now(), dialled=link.dialled, path=link.path, doubted=doubted):
            link.offer(encode_frame(Bye("duplicate")))
            await link.close()
            return
        older = self._links.get(peer)
        self._links[peer] = link
        if older is not None:
            self._retire(older, link)
        number = self._keepalive.up(peer, self._now(), brisk=link.path == "direct")
        self._changed()
        reason = "closed"
        try:
            self._events.link_up(link, room)
            self.send(peer, encode_frame(Ping(number)))
            await self._read(link)
        except LinkLost as exc:
            reason = str(exc)
        except SandpiperError as exc:
            reason = exc.sentence()
            self._refuse(link, exc)
        finally:
            if (timer := self._retired.pop(link, None)) is not None:
                timer.cancel()
            if link in self._ending:
                reason = self._ending.pop(link)
            else:
                link.abort()
            if self._links.get(peer) is link:
                del self._links[peer]
                self._keepalive.down(peer)
                self._mesh.lost(peer, self._now())
                self._changed()
                self._events.link_down(peer, reason)

    async def _settled(self, link: Link) -> bool:
        """Wait until a joiner to whom there is a link already has all that it is given: both decide then which of the
        two links stays, and must know alike whether the older one lives. If it does, the joiner has named the room on
        it by now.
        """
        begun = self._now().mono
        self._settling.add(link)
        try:
            async with asyncio.timeout(ADMIT_SECONDS):
                settled = isinstance(decode_link(await link.receive()), Settled)
            for _ in range(OLDER_LOOKS if settled else 0):
                if self._mesh.heard_since(link.peer, begun):
                    break
                await asyncio.sleep(OLDER_SECONDS / OLDER_LOOKS)
            if settled and not self._closing:
                return True
        except (LinkError, RemoteProtocolError, TimeoutError) as exc:
            log.info("a joiner at %s was lost: %s", link.address, type(exc).__name__)
        finally:
            self._settling.discard(link)
        link.abort()
        return False

    def _retire(self, older: Link, newer: Link) -> None:
        """`newer` takes the place of `older`, at the other end at almost the same moment. Were a link over another path
        closed at once, its end could come there before the new one has, and the peer would seem to be lost.
        """
        if older in self._ending or older.path == newer.path:
            self._end(older, "duplicate", "")
        else:
            timer = asyncio.get_running_loop().call_later(RETIRED_SECONDS, self._send_off, older)
            self._retired[older] = timer

    def _send_off(self, link: Link) -> None:
        if self._retired.pop(link, None) is not None and not self._closing:
            self._end(link, "duplicate", "")

    def _refuse(self, link: Link, error: Exception) -> None:
        """What came over a link was wrong, or we failed to take it in."""
        if not isinstance(error, SandpiperError):
            link.abort()
        elif link not in self._ending:
            log.warning("link to %s closed: %s", link.address, error.sentence())
            self._end(link, error.code, str(error))

    async def _read(self, link: Link) -> None:
        peer = link.peer

        def apply(frame: LinkFrame, records: tuple[Record, ...]) -> None:
            if self._links.get(peer) is link and link not in self._ending:
                self._events.frame(peer, frame, records)

        intake = Intake(
            partial(self._events.check, peer), apply, lambda exc: self._refuse(link, exc), self._tasks, link.address
        )
        taken = 0
        try:
            while True:
                raw = await link.receive()
                taken += 1
                if not taken % FRAMES_A_TURN:
                    await asyncio.sleep(0)
                now = self._now()
                if link in self._retired:
                    continue
                if self._links.get(peer) is not link or link in self._ending:
                    return
                self._keepalive.heard(peer, now)
                self._mesh.heard(peer, now)
                frame = decode_link(raw)
                if isinstance(frame, Pong):
                    self._keepalive.answered(peer, frame.number, now)
                await intake.put(frame)
        finally:
            await intake.drain()
