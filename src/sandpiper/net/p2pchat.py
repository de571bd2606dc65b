"""Peers of the old p2pchat program: their TCP links, plain JSON lines both ways. Page: docs/protocol/p2pchat.md.

What is believed, whom we dial and which link stays is decided in `sandpiper.core.p2pchat`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from typing import TYPE_CHECKING

from sandpiper.core.limits import PUSH_BURST, PUSH_RATE
from sandpiper.core.p2pchat import TIMES, Conversation, PlainMesh, PlainTimes, Told
from sandpiper.core.rate import Bucket
from sandpiper.crypto.rooms import plain_author
from sandpiper.errors import LinkError, RemoteProtocolError
from sandpiper.net.link import MAX_OUTBOX
from sandpiper.net.tcp import dial
from sandpiper.wire.p2pchat import BadLine, LineCutter, OurLineType, PlainLine, encode_error, encode_line
from sandpiper.wire.text import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.net.link import Pipe
    from sandpiper.wire.ids import PeerKey, RecordId

    Said = Callable[[PeerKey, RecordId, str, int, str], None]
    PeerChanged = Callable[[PeerKey, str, bool], None]

log = logging.getLogger(__name__)

MAX_STRANGERS = 32  # callers that have not said who they are, at one time


class _Link:
    """One TCP link and what belongs to it."""

    __slots__ = ("bucket", "dialled", "nick", "pipe", "sent", "sequence", "talk", "unit", "waited")

    def __init__(self, pipe: Pipe, talk: Conversation, now: float, unit: int = 0, *, dialled: bool) -> None:
        self.pipe = pipe
        self.talk = talk
        self.dialled = dialled
        self.sent = now
        self.sequence = 0
        self.nick = ""  # what the last line to it called us
        self.unit = unit  # how we write times to it
        self.bucket = Bucket(PUSH_RATE, PUSH_BURST, now)
        self.waited = 0.0  # seconds that we held it back


class PlainChat:
    """All links to peers of the old program. What it dials lives in `tasks`; callers in the tasks that serve them.

    `said(author, message, nick, time in ms, text)` is called for every new message, with the time of its arrival,
    and `peer_changed(author, nick, linked)` when a peer comes, goes or is called something else.
    """

    def __init__(
        self,
        peer_id: str,
        nick: str,
        tasks: asyncio.TaskGroup,
        said: Said,
        peer_changed: PeerChanged,
        times: PlainTimes = TIMES,
    ) -> None:
        self.peer_id = peer_id
        self.port = 0
        """Where we listen; old peers learn it from beacons."""
        self._nick = nick
        self._tasks = tasks
        self._said = said
        self._peer_changed = peer_changed
        self._times = times
        self._loop = asyncio.get_running_loop()
        self._mesh = PlainMesh(peer_id, random.Random())
        self._links: dict[str, _Link] = {}  # the link to each peer that said who it is
        self._open: set[_Link] = set()  # these, and those of strangers and duplicates
        self._dials: set[asyncio.Task[None]] = set()
        self._strangers = 0
        self._told = Told()
        self._closed = False

    @property
    def nick(self) -> str:
        """What our lines call us. Setting it sends a heartbeat with the new one."""
        return self._nick

    @nick.setter
    def nick(self, nick: str) -> None:
        if nick != self._nick:
            self._nick = nick
            self._send_all("heartbeat")

    def say(self, text: str) -> None:
        """Send one message, of several lines perhaps, to every old peer."""
        text = clean_text(text)
        if text.strip():
            self._send_all("chat", text)

    def found(self, peer_id: str, host: str, port: int, nick: str) -> None:
        """A beacon says that an old peer listens there: dial it, if that is ours to do and time for it."""
        if not self._closed and self._mesh.found(peer_id, self._loop.time()):
            log.debug("dialling %s, an old peer, at %s port %d", nick, host, port)
            task = self._tasks.create_task(self._dial(peer_id, host, port), name=f"p2pchat dial {host}:{port}")
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)

    async def serve(self, pipe: Pipe, already: bytes) -> None:
        """Talk to a caller of the old dialect until it is gone; `already` was read before."""
        if self._strangers >= MAX_STRANGERS:
            log.warning("too many callers of the old dialect that do not say who they are: %s refused", pipe.address)
            pipe.write(encode_error("full", "Too many callers at this moment; try again."))
            await pipe.close()
            return
        self._strangers += 1
        now = self._loop.time()
        link = _Link(pipe, Conversation(self.peer_id, now, times=self._times), now, dialled=False)
        try:
            await self._live(link, already)
        finally:
            if not link.talk.peer_id:
                self._strangers -= 1

    async def close(self) -> None:
        """Tell everyone that we leave, and close."""
        self._closed = True
        self._send_all("leave")
        await asyncio.gather(*(link.pipe.close() for link in self._open))
        for task in self._dials:
            task.cancel()

    # ------------------------------------------------------------ one link

    async def _dial(self, peer_id: str, host: str, port: int) -> None:
        unit: int | None = None
        try:
            pipe = await dial(host, port)
            now = self._loop.time()
            talk = Conversation(self.peer_id, now, peer_id, self._times)
            link = _Link(pipe, talk, now, self._mesh.unit(peer_id), dialled=True)
            self._send(link, "join")
            if await self._live(link, b"") and talk.peer_id:
                unit = talk.unit
        except LinkError as exc:
            log.debug("dialling an old peer failed: %s", exc.sentence())
        finally:
            self._mesh.dialled(peer_id, self._loop.time(), unit)

    async def _live(self, link: _Link, already: bytes) -> bool:
        """Read lines until the link ends; False when that was for a broken rule."""
        pipe = link.pipe
        self._open.add(link)
        try:
            await self._read(link, already)
            await pipe.close()
        except LinkError as exc:
            log.info("link to the old peer at %s ended: %s", pipe.address, exc.sentence())
        except RemoteProtocolError as exc:
            log.warning("link to the old peer at %s closed: %s (%s)", pipe.address, exc, exc.code)
            pipe.write(encode_error(exc.code, str(exc)))
            await pipe.close()
            return False
        finally:
            pipe.abort()
            self._open.discard(link)
            if self._current(link):
                peer_id = link.talk.peer_id
                del self._links[peer_id]
                self._mesh.lost(peer_id)
                self._peer_changed(plain_author(peer_id), link.talk.nick, False)
        return True

    def _current(self, link: _Link) -> bool:
        return self._links.get(link.talk.peer_id) is link

    async def _read(self, link: _Link, already: bytes) -> None:
        lines, chunk = LineCutter(), already
        while not self._closed:
            for raw in lines.feed(chunk):
                if self._closed or not await self._line(link, raw):
                    return
            chunk = b""
            wake = self._keep_alive(link)
            try:
                async with asyncio.timeout_at(wake):
                    chunk = await link.pipe.read()
            except TimeoutError:
                continue
            if not chunk:
                return

    def _keep_alive(self, link: _Link) -> float:
        """Do what is due; the result is when to look again."""
        now, heartbeat = self._loop.time(), self._times.heartbeat
        limit = link.talk.limit(now)
        if not self._current(link):
            return limit
        if now >= link.sent + heartbeat:
            self._send(link, "heartbeat")
        return min(limit, link.sent + heartbeat)

    async def _line(self, link: _Link, raw: bytes) -> bool:
        """Take one line; False ends the link."""
        talk = link.talk
        stranger, nick = not talk.peer_id, talk.nick
        try:
            line = talk.take(raw, self._loop.time(), link.waited)
        except BadLine as exc:
            level = logging.DEBUG if exc.code == "stale" else logging.INFO
            log.log(level, "from %s: %s (%s)", link.pipe.address, exc, exc.code)
            return True
        if stranger:
            self._identified(link)
        elif talk.nick != nick and self._current(link):
            self._peer_changed(plain_author(talk.peer_id), talk.nick, True)
        match line.type:
            case "chat":
                # A flood is read no faster than this, and nothing of it is lost.
                while not link.bucket.take(self._loop.time()):
                    await self._hold_back(link)
                self._heard(talk, line)
            case "leave":
                return False
            case "join" | "heartbeat":
                pass
            case _:
                log.debug("from %s: a line of a type that p2pchat does not have was ignored", link.pipe.address)
        return True

    async def _hold_back(self, link: _Link) -> None:
        self._keep_alive(link)
        before = self._loop.time()
        await asyncio.sleep(1 / PUSH_RATE)
        link.waited += self._loop.time() - before

    def _identified(self, link: _Link) -> None:
        """The other side has said who it is: this is the link to it from here on, or the lesser one of two."""
        talk = link.talk
        if not link.dialled:
            self._strangers -= 1
        if self._mesh.keep(talk.peer_id, dialled=link.dialled):
            older = self._links.get(talk.peer_id)
            self._links[talk.peer_id] = link
            if older is not None:
                self._end_soon(older)
            if older is None or older.talk.nick != talk.nick:
                self._peer_changed(plain_author(talk.peer_id), talk.nick, True)
        else:
            self._end_soon(link)
        if not link.sequence or link.unit != talk.unit:  # ours waited for theirs, or they could not read its time
            link.unit, link.sequence = talk.unit, 0
            self._send(link, "join")
        elif link.nick != self._nick:
            self._send(link, "heartbeat")

    def _end_soon(self, link: _Link) -> None:
        """Of two links this one had lost. What was said on it is still read; a leave would say that we go."""
        log.debug("two links to %s: closing the one at %s", link.talk.nick, link.pipe.address)
        self._loop.call_later(self._times.linger, link.pipe.abort)

    # ------------------------------------------------------------ messages

    def _send_all(self, kind: OurLineType, text: str = "") -> None:
        message_id = str(uuid.uuid4())
        for link in self._links.values():
            self._send(link, kind, text, message_id)

    def _send(self, link: _Link, kind: OurLineType, text: str = "", message_id: str = "") -> None:
        """Hand one line to the link, at once; a link that takes nothing any more is closed."""
        if link.pipe.pending > MAX_OUTBOX:
            log.warning("the old peer at %s takes nothing any more: closed", link.pipe.address)
            link.pipe.abort()
            return
        line = PlainLine(
            id=message_id or str(uuid.uuid4()),
            type=kind,
            sender_id=self.peer_id,
            username=self._nick,
            content=text,
            timestamp=time.time(),
            sequence=link.sequence,
            unit=link.unit,
        )
        link.pipe.write(encode_line(line))
        link.sequence += 1
        link.nick, link.sent = self._nick, self._loop.time()

    def _heard(self, talk: Conversation, line: PlainLine) -> None:
        place = self._told.place(line, time.time_ns() // 1_000_000)
        if place is not None:
            self._said(plain_author(line.sender_id), place[0], talk.nick, place[1], line.content)
