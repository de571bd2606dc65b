"""What the node tells, as updates for the screen: gathered for a moment, completed from the history, told in batches.

Everything here runs on the node's loop, but for `_look_up`: that is done in a thread.
"""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING, assert_never

from sandpiper.core.admission import CodeEnded, CodeTried
from sandpiper.core.events import (
    Accepted,
    CatchUp,
    Delivered,
    Forked,
    Gap,
    Judged,
    MemberChanged,
    PeerChanged,
    Preview,
    Refused,
    RoomChanged,
    TypingSeen,
)
from sandpiper.errors import StoreError, UsageError
from sandpiper.faces import render, sentences
from sandpiper.faces.comings import Comings
from sandpiper.faces.people import PLAIN_MARK, People
from sandpiper.faces.recent import Recent
from sandpiper.faces.render import Name
from sandpiper.faces.showing import Showing
from sandpiper.faces.spans import Span, dim, excerpt, harmless, line
from sandpiper.faces.tui.around import Surroundings
from sandpiper.faces.tui.completing import Completing
from sandpiper.faces.tui.lookup import Lookup, look_up
from sandpiper.faces.tui.naming import Naming
from sandpiper.faces.tui.pending import MAX_CHANGED, Batch, Changed, Pending, provisional
from sandpiper.faces.tui.unread import Unread
from sandpiper.faces.tui.views import Delivery, Found, Invited, Joining, Note, OtherKey, Show, Typing
from sandpiper.faces.verifying import key_changed_lines
from sandpiper.node import (
    CodeMade,
    HubChange,
    HubNews,
    KeyChanged,
    MeetingNews,
    PasswordWanted,
    PlainMessage,
    PlainPeer,
    Problem,
)
from sandpiper.wire.ids import RecordId, RoomId
from sandpiper.wire.records import (
    Admit,
    Edit,
    Genesis,
    Leave,
    Profile,
    React,
    Remove,
    Retract,
    Role,
    Text,
    Topic,
    Unknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Literal

    from sandpiper.faces.spans import Line
    from sandpiper.faces.tui.views import Around, Place, Update
    from sandpiper.node import Node, NodeNotice
    from sandpiper.store import profile
    from sandpiper.store.reader import Reader
    from sandpiper.wire.ids import PeerKey
    from sandpiper.wire.records import Record

PULSE_SECONDS = 0.05  # between two batches: a burst is a few redraws, and nobody sees the wait
AROUND_SECONDS = 0.05  # between two pictures of what is around
SAVE_SECONDS = 1.0  # between two notes on the disk of what was read
ROUND_TRIPS_EVERY = 3  # times that
ADDRESS_EVERY = 30  # interfaces rarely change, and looking at them takes a while

SAID_CELLS = 60  # of what we have said elsewhere, as it is confirmed


class Telling:
    """The `Subscriber` of the node. `put` is given the batches."""

    def __init__(
        self,
        node: Node,
        profile: profile.Profile,
        put: Callable[[tuple[Update, ...]], None],
        *,
        quiet: bool = False,
    ) -> None:
        """`quiet`: no comings and goings."""
        self._node = node
        self._profile = profile
        self._put = put
        self._quiet = quiet
        self.people = People(node)
        self._recent = Recent(node)
        self._showing = Showing(node, self.people, self._recent)
        self._comings = Comings(self.people, self._showing, self._news)
        self._alone = sentences.Alone(node, self.people)
        self._unread = Unread(node.read_places())
        self._naming = Naming(node, self.people)
        self._around = Surroundings(node, profile, self.people, self._naming, self._unread)
        self._completing = Completing(node, self.people, self._naming, self._around, self._came)
        self._pending = Pending()
        self._reader: Reader | None = None
        self._due = asyncio.Event()
        self._ending = False
        self._begun = False
        self._entered: set[RoomId] = set()  # joined since the last batch
        self._opened: set[RoomId] = set()  # shown since then
        self._picture: Around | None = None
        self._picture_due = True  # something around may have changed
        self._picture_now = True  # and cannot wait
        self._picture_at = 0.0
        self._names_due = False
        self._save_failed = False
        self._on_the_way = False
        self._ignored = node.ignored  # when unread messages were counted

    # ------------------------------------------------------------ life

    async def begin(self, room: RoomId) -> None:
        """The node runs and is in its rooms; `room` is the one to start in. Tells the first batch."""
        self._around.look_at_interfaces()
        self._entered = {one.id for one in self._node.rooms()}
        self.look(room, focused=False)
        self.tell(Show(room))
        if self._profile.notes:
            self._note(None, "reply", [line(note) for note in self._profile.notes])
        if self._node.settings.plain:
            self._note(None, "reply", [line(Span("PLAIN", "bold"), f" {sentences.COMPAT}")])
        await self._flush()
        self._begun = True

    async def run(self) -> None:
        """Tell, batch by batch, until `end`."""
        while not self._ending:
            await self._due.wait()
            self._due.clear()
            await self._flush()
            await asyncio.sleep(PULSE_SECONDS)

    async def keep_time(self) -> None:
        """Do what is done every so often."""
        for seconds in count(1):
            await asyncio.sleep(SAVE_SECONDS)
            self.save()
            if seconds % ROUND_TRIPS_EVERY == 0:
                self.changed()
            if seconds % ADDRESS_EVERY == 0:
                self._around.look_at_interfaces()

    def leave(self) -> None:
        """We go: that everybody else is gone then is no news."""
        self._quiet = True

    def end(self) -> None:
        """Let `run` finish with the batch at hand."""
        self._ending = True
        self._due.set()

    def close(self) -> None:
        """Let go of the history, after `run`."""
        self._recent.close()
        if self._reader is not None:
            self._reader.close()

    def save(self) -> None:
        """Remember on the disk what was read."""
        places = self._unread.unsaved()
        for at, (room, place) in enumerate(places):
            try:
                self._node.mark_read(room, place)
            except StoreError as exc:
                self._unread.not_saved(room for room, _ in places[at:])
                if not self._save_failed:  # it is tried every second, and said once
                    self.trouble(room, str(exc), exc.hint)
                self._save_failed = True
                return
            self._save_failed = False

    # ------------------------------------------------------------ what the backstage tells by itself

    def tell(self, update: Update) -> None:
        """Tell this in the next batch."""
        if isinstance(update, Show) and update.room is not None:
            self._around.opened.add(update.room)  # whoever it is with
            self._picture_now = True
        self._pending.add(update)
        self._due.set()

    def arrived(self) -> None:
        """We are on no way into a private room any more, whether it led there or not."""
        if self._on_the_way:
            self._on_the_way = False
            self.tell(Joining(""))

    def changed(self) -> None:
        """Anything around may have changed, names too."""
        self._picture_due = self._names_due = True
        self._due.set()

    def reply(self, room: RoomId | None, lines: Sequence[Line]) -> None:
        """The answer of a command."""
        self._note(room, "reply", lines)

    def trouble(self, room: RoomId | None, text: str, hint: str = "") -> None:
        """Something is wrong: what, and what next."""
        self._note(room, "trouble", [line(Span(text, "warn"), f" {hint}" if hint else "")])

    def look(self, room: RoomId | None, *, focused: bool) -> None:
        """This room is on the screen; `focused`: a person sees it."""
        if room is not None and room != self._around.shown:
            self._opened.add(room)
            self._around.opened.add(room)
        self._around.shown = self._showing.room = room
        self._unread.seen = room if focused else None
        self.changed()

    def read(self, room: RoomId, place: Place) -> None:
        """Everything up to `place` has been seen.

        Raises:
            StoreError: the history cannot be read.
        """
        self._unread.read(room, min(place, self._node.newest_place(room)))  # a preview's place is a guess
        self._picture_due = True
        self._due.set()

    def open_direct(self, key: PeerKey) -> None:
        """Open the direct room with this very key, and show it.

        Raises:
            UsageError: it is ours, or nobody's who has direct rooms.
        """
        if key == self._node.key:
            raise UsageError("That is you.", hint="A direct room is with somebody else.", code="self")
        if key in self.people.plain or self._naming.plain(key):
            raise UsageError(
                "That person speaks the old p2pchat dialect, which has no direct messages.",
                hint="What you write in #general reaches them.",
                code="plain_peer",
            )
        self.tell(Show(self._node.open_direct(key)))
        self.changed()

    # ------------------------------------------------------------ what the node tells

    def notice(self, notice: NodeNotice) -> None:
        """Something happened (a `Subscriber`)."""
        people = self.people
        people.learn(notice)
        self._around.learn(notice)
        match notice:
            case Accepted(record=record):
                self._accepted(notice, record)
                return  # most are messages, which change little around
            case Preview(record=record):
                if isinstance(record.body, Text) and not people.hidden(record.author):
                    self._pending.preview(provisional(record, record.body, people.name(record.author, record.room)))
                    self._due.set()
                return
            case Delivered(room=room, id=record_id, delivered=delivered, members=members):
                self._pending.delivery(Delivery(room, record_id, delivered, members))
                self._due.set()
                if (alone := self._alone.sentence(room, members)) and not self._quiet:
                    self._event(room, alone)
                return
            case TypingSeen(room=room, peer=peer):
                if not people.hidden(peer):
                    self.tell(Typing(room, people.name(peer, room), self._naming.colour(peer, room)))
                return
            case PlainMessage(room=room, id=record_id, author=author):
                if not people.hidden(author):
                    fresh = not notice.mine and not notice.history
                    self._pending.changed(room, record_id, fresh=fresh, history=notice.history)
                    if notice.hub and not notice.mine:
                        self._came(room, (notice.clock, record_id), notice.text)
            case PeerChanged():
                self._alone.somebody_came()
                self._comings.changed(notice)
            case PlainPeer(author=author, nick=nick, linked=linked):
                self._alone.somebody_plain_came()
                if not people.hidden(author):
                    name = Name(nick + PLAIN_MARK, people.colour(author))
                    self._news(*sentences.plain_peer(name.span, linked=linked))
            case RoomChanged():
                self._room_changed(notice)
            case CatchUp(room=room, missing=missing):
                if missing > MAX_CHANGED:
                    self._pending.hold(room)
                elif not missing:
                    self._pending.release(room)
            case Forked(room=room):
                self.trouble(room, *sentences.forked(notice, people))
            case Problem(text=text, hint=hint):
                self.trouble(None, text, hint)
            case HubNews(room=room_or_none, text=text, hint=hint, coming=coming):
                if not (coming and self._quiet):
                    self._event(room_or_none, f"{text} {hint}".rstrip())
            case HubChange(room=room, author=author, body=body, history=history):
                if not people.hidden(author):
                    self._pending.changed(room, RecordId(body.target), history=history)
            case PasswordWanted():
                self.tell(notice)
            case CodeMade(room=room, code=made, relay=relay):
                self._event(room, " ".join(sentences.code_made(notice, people)))
                self.tell(Invited(people.room(room), made, relay))
            case CodeTried(room=room):
                self.trouble(room, *sentences.code_tried(notice, people))
            case CodeEnded(room=room):
                self._event(room, " ".join(sentences.code_ended(notice, people)))
            case KeyChanged():
                lines = tuple(key_changed_lines(notice, people))
                self._note(notice.room, "trouble", lines)
                self.tell(OtherKey(notice.peer, people.name(notice.peer, notice.room), lines))
                self._names_due = True
            case MeetingNews(code=code, text=text, hint=hint):
                self._event(None, f"{text} {hint}".rstrip())
                if code == "joining":
                    self._on_the_way = True
                    self.tell(Joining(text))
            case MemberChanged(room=room):
                if sentences.is_news(notice, people):
                    self._event(room, sentences.member_changed(notice, people))
            case Judged(room=room, void=void):
                for gone in void:
                    self._pending.changed(room, gone, history=True)
            case Gap() | Refused():
                pass
            case _:
                assert_never(notice)
        self.changed()

    def _accepted(self, notice: Accepted, record: Record) -> None:
        room, people = record.room, self.people
        if notice.history:
            self._around.fetched(room)
        if people.hidden(record.author):
            return
        match record.body:
            case Text(text=text):
                fresh = not notice.mine and not notice.history
                if fresh:
                    self._comings.flush(record.author)  # nobody speaks before they are there
                self._pending.changed(room, record.id, fresh=fresh, history=notice.history)
                if not notice.mine:
                    self._came(room, (notice.clock, record.id), text)
                elif room != self._around.shown and not notice.history:
                    self._said_elsewhere(room, text)
            case Edit(target=target) | Retract(target=target) | React(target=target):
                self._pending.changed(room, RecordId(target), history=notice.history)
            case Topic(text=text):
                if not notice.history:
                    name = Name(people.name(record.author, room), people.colour(record.author, room))
                    self._event(room, name.span, sentences.topic_set(text), at=record.time)
                self._picture_due = True
            case Profile():
                self._names_due = True
            case Genesis() | Admit() | Role() | Remove() | Leave() | Unknown():
                pass
            case _:
                assert_never(record.body)
        self._due.set()

    def _said_elsewhere(self, room: RoomId, text: str) -> None:
        """We have said something in a room that is not on the screen, as `/msg bob hi` does."""
        label = self.people.room(room)
        self._note(None, "reply", [line(dim(f"you → {label.removeprefix('@')}: "), excerpt(text, SAID_CELLS))])

    def _came(self, room: RoomId, place: Place, text: str) -> None:
        """A message of somebody else is here."""
        ours = self._node.room(room)
        direct = ours is not None and ours.peer is not None
        self._unread.came(room, place, mention=direct or render.mentions(text, self._node.nick))
        self._picture_due = True

    def _room_changed(self, notice: RoomChanged) -> None:
        if notice.joined:
            self._entered.add(notice.room)
            hidden = notice.peer is not None and self.people.hidden(notice.peer)  # has written to us first
            if self._begun and not hidden:  # those of the start are no news
                self._event(notice.room, sentences.room_changed(notice, self.people))
        else:
            self._naming.forget(notice.room)
            self._pending.release(notice.room)
            self._event(None, sentences.room_changed(notice, self.people))
        self._picture_now = True

    # ------------------------------------------------------------ notes

    def _news(self, *parts: str | Span) -> None:
        """Comings and goings, which a quiet face leaves out."""
        if not self._quiet:
            self._event(None, *parts)

    def _event(self, room: RoomId | None, *parts: str | Span, at: int | None = None) -> None:
        """Something happened, now or at `at` (ms since 1970): dim, but for names."""
        spans = (Span(part) if isinstance(part, str) else part for part in parts)
        self._note(room, "event", [line(*(span if span.style else dim(span.text) for span in spans))], at)

    def _note(
        self,
        room: RoomId | None,
        kind: Literal["event", "reply", "trouble"],
        lines: Iterable[Line],
        at: int | None = None,
    ) -> None:
        at = time.time_ns() // 1_000_000 if at is None else at
        self.tell(Note(room, kind, tuple(map(harmless, lines)), at))

    # ------------------------------------------------------------ batches

    async def _flush(self) -> None:
        """Tell all that there is."""
        batch = self._pending.take()
        entered, opened = self._entered, self._opened
        uncounted = entered | self._recounted()
        read_up_to = {room: self._unread.read_up_to(room) for room in uncounted}
        self._entered, self._opened = set(), set()
        found = Lookup()
        if batch.changes or uncounted or opened or any(isinstance(item, Found) for item in batch.items):
            try:
                found = await asyncio.to_thread(self._look_up, batch, opened | entered, read_up_to)
            except StoreError as exc:
                self.trouble(None, str(exc), exc.hint)
        out = self._completing.names(found, entered)
        for item in batch.items:
            match item:
                case Changed(room=room):
                    out += self._completing.said(room, batch.changes[room], found)
                case Found(words=words, messages=messages):
                    out += self._completing.listed(words, messages)
                case _:
                    out.append(item)
        out += [*batch.deliveries, *self._completing.marks(found, opened)]
        out = [*self._picture_if_due(), *out]
        if out:
            self._put(tuple(out))

    def _look_up(self, batch: Batch, shown: set[RoomId], read_up_to: Mapping[RoomId, Place]) -> Lookup:
        """In a thread."""
        if self._reader is None:
            self._reader = self._node.reader()
        hidden = self._ignored
        return look_up(self._reader, batch, shown, read_up_to, peers=not self._begun, hidden=hidden)

    def _recounted(self) -> set[RoomId]:
        """Rooms whose unread messages are to be counted anew: all, when somebody is ignored now or no longer. Those
        that come while the history is read are counted twice, which is once.
        """
        if self._ignored == self._node.ignored:
            return set()
        self._ignored = self._node.ignored
        rooms = {room.id for room in self._node.rooms()}
        for room in rooms:
            self._unread.forget(room)
        self._picture_due = True
        return rooms

    def _picture_if_due(self) -> list[Update]:
        """What is around, when it has changed and the last picture is some time ago."""
        out: list[Update] = []
        now = time.monotonic()
        if not self._picture_now and not (self._picture_due and now >= self._picture_at):
            if self._picture_due:
                self._due.set()
            return out
        self._picture_due = self._picture_now = False
        self._picture_at = now + AROUND_SECONDS
        picture = self._around.picture()
        if picture != self._picture:
            self._picture = picture
            out.append(picture)
        for room in picture.rooms:
            out += self._naming.present(room.id)
        if self._names_due:
            self._names_due = False
            out += self._naming.changed()
        return out
