"""Carries out what the engine asks for: frames to links, records to disk, notices to faces. In that order of care.

The rule that makes a crash harmless: nothing is told to anyone before it is on disk.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from sandpiper.core.admission import Decline, OpenCodes
from sandpiper.core.engine import Engine
from sandpiper.core.events import (
    Accepted,
    Append,
    Effect,
    Enact,
    Event,
    Hangup,
    Judged,
    PeerChanged,
    PeerDown,
    PeerUp,
    Received,
    Refused,
    SaveRoom,
    Send,
    Serve,
    Tick,
)
from sandpiper.core.inviting import stands
from sandpiper.core.names import Names
from sandpiper.crypto.rooms import open_room
from sandpiper.crypto.signing import open_records
from sandpiper.errors import StoreError
from sandpiper.node.notices import NodeNotice, PlainMessage, PlainPeer, Problem, Subscriber, moment
from sandpiper.store.reader import Reader
from sandpiper.wire.admission import Vouch
from sandpiper.wire.frames import Records, encode_frame
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.limits import MAX_ANSWER_FRAMES, MAX_BATCH_BYTES, MAX_BATCH_RECORDS
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.admission import AdmissionEffect
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.intake import Checked
    from sandpiper.net.link import Link
    from sandpiper.net.links import Links
    from sandpiper.store.history import History
    from sandpiper.store.marks import Place
    from sandpiper.wire.admission import LinkFrame
    from sandpiper.wire.records import Record

log = logging.getLogger(__name__)

OLD_ROOM = "general"  # the one room of the old dialect
THREAD_FROM = 8  # records in one frame from which signatures are checked off the event loop


class Runner:
    """The engine with its history file and links (`LinkEvents`). `links` is set before the first link comes."""

    links: Links

    def __init__(self, identity: Identity, nick: str, history: History, wake: Callable[[float | None], None]) -> None:
        """`wake` is told when the engine wants its next `Tick`."""
        self.nick = nick
        self.history = history
        self.names = Names(identity.key, nick)
        self.ignored: set[PeerKey] = set()
        self.verified: set[PeerKey] = set()
        self.read: dict[RoomId, Place] = {}
        self.declined: Callable[[Decline], None] = lambda _: None
        """Told of a joiner whom nobody waits for any more."""
        self.codes_changed: Callable[[], None] = lambda: None
        """Told when a code was opened or closed, or where a room meets is news."""
        self.codes = OpenCodes(
            identity.key,
            lambda room, peer: self.engine.refusal(room, peer),
            lambda room, after: stands(self.engine.room(room), after),
        )
        self._identity = identity
        self._rng = random.Random()
        self._wake = wake
        self._subscribers: list[Subscriber] = []
        self._broken: StoreError | None = None
        self._met: dict[PeerKey, str] = {}  # linked since the start, and what they were called when it was kept
        self.engine = self._begin()
        admitted = (room.id for room in self.engine.rooms() if room.roster.admits(identity.key))
        rooms, now = frozenset(admitted), moment()
        self.codes.restore((one for one in history.load_codes(now.wall_ms) if one.room in rooms), now)

    def _begin(self) -> Engine:
        """An engine that knows what the disk holds."""
        with Reader(self.history.path) as reader:
            for peer in reader.acquaintances():
                self.names.learn(peer.key, peer.nick)
                if peer.ignored:
                    self.ignored.add(peer.key)
                if peer.verified:
                    self.verified.add(peer.key)
                if peer.pinned:
                    self.names.pin(peer.key, peer.pinned, verified=peer.verified)
        self.read = self.history.read_places()
        return Engine(self._identity, self.nick, self._rng, moment(), self.history.load_rooms(), self.codes)

    # ------------------------------------------------------------ telling

    def subscribe(self, subscriber: Subscriber, *, first: bool = False) -> Callable[[], None]:
        """Call `subscriber` with every notice from now on, `first` of all or last; the result ends that."""
        self._subscribers.insert(0 if first else len(self._subscribers), subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def tell(self, notice: NodeNotice) -> None:
        """Give a notice to every subscriber."""
        for subscriber in tuple(self._subscribers):
            subscriber(notice)

    def problem(self, code: str, text: str, hint: str = "") -> None:
        """Log a problem and tell it."""
        log.warning("%s %s", text, hint)
        self.tell(Problem(code, text, hint))

    # ------------------------------------------------------------ events in, effects out

    def do(self, event: Event) -> None:
        """Hand one event to the engine and carry out what it asks for.

        Raises:
            UsageError: a command that cannot be done.
            StoreError: the disk failed. The engine has begun again from what the disk holds, and links are closed,
                so that nobody hears of what could not be kept. When even that fails, nothing can be done any more,
                and the node ends with this error.
        """
        if self._broken is not None:
            raise self._broken
        try:
            self._perform(self.engine.handle(event, moment()))
        except StoreError as exc:
            log.error("history: %s", exc.sentence())
            self._begin_again()
            raise
        self._wake(self.engine.deadline())

    def admission(self, effects: list[AdmissionEffect]) -> None:
        """Carry out what the codes want done, all but letting somebody in.

        Raises:
            StoreError: the disk failed.
        """
        self._perform(self.engine.admission(effects))
        self._wake(self.engine.deadline())

    def _begin_again(self) -> None:
        """Forget what could not be kept, and everybody who might have heard of it."""
        self.links.hang_up_all("store", "this peer's disk failed")
        for peer in self.engine.linked():
            for effect in self.engine.handle(PeerDown(peer, "our disk failed"), moment()):
                if isinstance(effect, PeerChanged):
                    self.tell(effect)
        try:
            self.history.rollback()
            self.engine = self._begin()
        except StoreError as exc:
            self._broken = exc
            self._wake(0.0)
            raise
        self._wake(self.engine.deadline())

    def tick(self) -> None:
        """The engine's deadline has come.

        Raises:
            StoreError: the history cannot even be read any more.
        """
        try:
            self.do(Tick())
        except StoreError as exc:
            if self._broken is not None:
                raise
            self.problem(exc.code, str(exc), exc.hint)

    def _perform(self, effects: list[Effect]) -> None:
        """Carry out effects. What is to be kept comes first: a subscriber that is told may post, and what it posts
        names what it was told.
        """
        history, engine = self.history, self.engine
        if codes := self.codes.unkept():
            history.keep_codes(codes)
        for effect in effects:
            if isinstance(effect, Append):
                history.append(effect)
            elif isinstance(effect, SaveRoom):
                history.save_room(effect)
            elif isinstance(effect, Enact):
                history.enact(effect)
            elif isinstance(effect, Judged):
                engine.derived(effect, history.judge(effect))
        for effect in effects:
            if self.engine is not engine:
                return  # a subscriber met a failing disk; the engine has begun again
            match effect:
                case Append() | SaveRoom() | Enact():
                    pass
                case Send(peers=peers, frame=frame):
                    history.commit()
                    raw = encode_frame(frame)
                    for peer in peers:
                        self.links.send(peer, raw)
                case Accepted():
                    history.commit()
                    self.tell(effect)
                case Serve():
                    history.commit()
                    self._serve(effect)
                case Decline():
                    self.declined(effect)
                case Hangup(peer=peer, code=code, reason=reason):
                    self.links.hang_up(peer, code, reason)
                case Refused(peer=peer, code=code, reason=reason):
                    log.info("refused from %s: %s (%s)", self.names.show(peer), reason, code)
                case PeerChanged(peer=peer, nick=nick, state=state):
                    if state == "linked" and self._met.get(peer) != nick:
                        self._met[peer] = nick
                        self.names.learn(peer, nick)
                        history.saw_peer(peer, nick, moment().wall_ms)
                    self.tell(effect)
                case _:
                    self.tell(effect)
        history.commit()
        self.codes.kept(codes)
        if codes or any(isinstance(effect, SaveRoom) for effect in effects):
            self.codes_changed()

    def _serve(self, serve: Serve) -> None:
        """Answer with as many frames as the records fill, at most `MAX_ANSWER_FRAMES`; the asker asks on. Those beside
        their logs come last, where there is room for them.
        """
        beside = self.history.fork_raws(serve.room, serve.ids)
        places, before = serve.places, serve.before
        for left in range(MAX_ANSWER_FRAMES - 1, -1, -1):
            found = self.history.raws(serve.room, places[:MAX_BATCH_RECORDS])
            places = places[len(found) :]
            raws = [raw for _, _, raw in found]
            size = sum(map(len, raws))
            if not places or not found:
                places = ()
                while beside and len(raws) < MAX_BATCH_RECORDS and size + len(beside[0]) <= MAX_BATCH_BYTES:
                    size += len(beside[0])
                    raws.append(beside.pop(0))
            more = left > 0 and bool(places or beside)
            frame = Records(serve.room, tuple(raws), serve.answer, more, serve.since, before)
            self.links.send(serve.peer, encode_frame(frame))
            before = ()
            for author, seq, _ in found:
                self.engine.served(serve.peer, serve.room, author, seq)
            if not more:
                return

    # ------------------------------------------------------------ the old dialect

    def plain_said(self, author: PeerKey, message: RecordId, nick: str, time_ms: int, text: str) -> None:
        """A peer of the old dialect said something in its one room."""
        room = open_room(OLD_ROOM)
        if self.engine.room(room) is None:
            return
        try:
            self.history.append_plain(room, message, author, nick, time_ms, text)
            self.history.commit()
        except StoreError as exc:
            self.problem(exc.code, str(exc), exc.hint)
            return
        self.tell(PlainMessage(room, message, author, nick, time_ms, text))

    def plain_peer(self, author: PeerKey, nick: str, linked: bool) -> None:
        """One came or went."""
        self.tell(PlainPeer(author, nick, linked))

    # ------------------------------------------------------------ links (LinkEvents)

    def link_up(self, link: Link, room: RoomId | None) -> None:
        """See `LinkEvents`."""
        self.do(PeerUp(link.peer, link.path, room))

    def link_down(self, peer: PeerKey, reason: str) -> None:
        """See `LinkEvents`."""
        self.do(PeerDown(peer, clean_line(reason, 200)))

    def check(self, peer: PeerKey, frame: LinkFrame) -> Checked:
        """See `LinkEvents`. Large batches go to two threads; libsodium lets go of the GIL."""
        if isinstance(frame, Vouch):
            private = self.engine.room(RoomId(frame.room))
            if private is None or private.kind != "private":
                return ()
        elif not isinstance(frame, Records) or not self.engine.expects(peer, frame):
            return ()
        room = RoomId(frame.room)
        if len(frame.records) < THREAD_FROM:
            return open_records(frame.records, room)
        return asyncio.ensure_future(_on_threads(frame.records, room))

    def frame(self, peer: PeerKey, frame: LinkFrame, records: tuple[Record, ...]) -> None:
        """See `LinkEvents`."""
        try:
            self.do(Received(peer, frame, records))
        except StoreError as exc:
            self.problem(exc.code, str(exc), exc.hint)
            raise


async def _on_threads(raws: tuple[bytes, ...], room: RoomId) -> tuple[Record, ...]:
    half = len(raws) // 2
    first = asyncio.to_thread(open_records, raws[:half], room)
    rest = asyncio.to_thread(open_records, raws[half:], room)
    return tuple(record for part in await asyncio.gather(first, rest) for record in part)
