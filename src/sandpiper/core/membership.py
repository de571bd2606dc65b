"""A room that we are in, with its sync: taking records in, one by one or by the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.events import Accepted, Append, Effect, Enact, Forked, Now, Preview, RoomChanged, SaveRoom, Send
from sandpiper.core.limits import MAX_PREVIEW, MAX_PUSHED, TYPING_SECONDS
from sandpiper.core.private import PrivateRoom
from sandpiper.core.rate import Bucket
from sandpiper.core.sync import FETCHED, PUSHED, WANTED_RECENT, Sync
from sandpiper.core.vouching import VOUCH_BURST, VOUCH_RATE, pieces, removal_of, untold, vouch_of, vouched
from sandpiper.wire.admission import Vouch
from sandpiper.wire.frames import Typing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandpiper.core.linked import Linked
    from sandpiper.core.room import Placed, Room
    from sandpiper.wire.frames import Records
    from sandpiper.wire.ids import PeerKey, RecordId
    from sandpiper.wire.records import Record


class Membership:
    """A room that we are in, and its sync."""

    __slots__ = ("_me", "_vouches", "preview", "room", "sync", "typed_at", "used")

    def __init__(self, room: Room, sync: Sync, me: PeerKey) -> None:
        self.room = room
        self.sync = sync
        self._me = me
        self._vouches = Bucket(VOUCH_RATE, VOUCH_BURST, 0.0)
        self.preview: set[RecordId] = set()
        self.typed_at = -TYPING_SECONDS
        self.used = True  # False: opened by the other side of a direct room, and nothing said in it yet

    def use(self) -> list[Effect]:
        """A room that we did not ask for is one of ours now."""
        if self.used:
            return []
        self.used = True
        return self.saved(joined=True)

    def saved(self, *, joined: bool) -> list[Effect]:
        """Keep, and tell, that we are in this room or not."""
        room = self.room
        secret = (room.secret, room.lock, room.relay, room.floor.since) if isinstance(room, PrivateRoom) else ()
        return [
            SaveRoom(room.id, room.name, room.kind, room.peer, joined, *secret),
            RoomChanged(room.id, room.name, room.kind, room.peer, joined),
        ]

    def meets_at(self, relay: str) -> list[Effect]:
        """A member gives codes out there: whoever came in over the LAN learns where the room meets by that."""
        room = self.room
        if not isinstance(room, PrivateRoom) or room.relay or not relay:
            return []
        room.relay = relay
        return self.saved(joined=True)[:1]

    def typing(self, now: Now) -> list[Effect]:
        """The person is typing: tell the others, now and then."""
        if now.mono < self.typed_at + TYPING_SECONDS or not self.sync.members:
            return []
        self.typed_at = now.mono
        return [Send(self.sync.members, Typing(self.room.id))]

    def vouch(self, key: PeerKey, peer: Linked) -> list[Effect]:
        """A member that does not name the room may not have heard that we were let in: show it, once a link."""
        room = self.room
        if not isinstance(room, PrivateRoom) or room.tag in peer.tags or room.id in peer.vouched:
            return []
        if not (room.roster.admits(key) and room.roster.admits(self._me)):
            return []
        peer.vouched.add(room.id)
        records = vouch_of(room, self._me)
        return [Send((key,), Vouch(room.id, records))] if records else []

    def vouched(self, key: PeerKey, peer: Linked | None, records: tuple[Record, ...], now: Now) -> list[Effect]:
        """`key`, of whom we had not heard, shows what made it a member: keep that, if it does. Whoever was put out and
        has not heard of that hears of it, over its link.
        """
        room = self.room
        if not isinstance(room, PrivateRoom) or not (room.roster.admits(key) or self._vouches.take(now.mono)):
            return []
        room.enact(vouched(room, key, records))
        enacted = room.enacted()
        out: list[Effect] = [*(Enact(record) for record in enacted), *self._pass_on(enacted, (), key)]
        if peer is None or room.roster.admits(key) or room.id in peer.vouched:
            return out
        peer.vouched.add(room.id)
        told = removal_of(room, key)
        return [*out, Send((key,), Vouch(room.id, told))] if told else out

    def untold(self, key: PeerKey) -> list[Effect]:
        """A member whose part of the history begins later: the control records that it would not get otherwise."""
        room = self.room
        if not isinstance(room, PrivateRoom) or not room.begins(key):
            return []
        return [Send((key,), Vouch(room.id, piece)) for piece in untold(room, key)]

    def _pass_on(self, enacted: Iterable[Record], added: Iterable[Placed], source: PeerKey | None) -> Iterator[Effect]:
        """Control records that are news, for members whom no log brings them: their part of the history is later."""
        news = tuple(enacted)
        clocks = {placed.record.id: placed.clock for placed in added} if news else {}
        for key in self.sync.members if news else ():
            begins = self.room.begins(key)
            if key == source or not begins:
                continue
            for piece in pieces(record.raw for record in news if clocks.get(record.id, -1) < begins):
                yield Send((key,), Vouch(self.room.id, piece))

    def expects(self, peer: PeerKey, frame: Records) -> bool:
        """False when checking the signatures in `frame` would be wasted."""
        if peer not in self.sync.members:
            return False
        return len(frame.records) <= MAX_PUSHED if frame.answer == PUSHED else self.sync.owes(peer)

    def take(self, key: PeerKey, peer: Linked, frame: Records, records: tuple[Record, ...], now: Now) -> list[Effect]:
        """Records with checked signatures came from `key`."""
        out: list[Effect] = []
        room, sync = self.room, self.sync
        frame = sync.judged(key, frame)
        progress = 0
        if frame.since and frame.since == room.floor.since and frame.answer != PUSHED:
            released = sync.learn(frame.before, single=frame.answer == FETCHED)
            out += self._kept(released, key, now, history=True)
            progress += len(released)
        if frame.answer == WANTED_RECENT:
            for record in records:
                fresh = record.id not in self.preview and record.seq > room.head_seq(record.author)
                shown = fresh and room.counts(record.author, record.seq, record.id)
                if shown and len(self.preview) < MAX_PREVIEW:
                    self.preview.add(record.id)
                    out.append(Preview(record))
        else:
            pushed = frame.answer == PUSHED
            over = pushed and not peer.pushes.take(now.mono, len(records))
            if pushed:
                sync.note_pushed(key, records, over_rate=over, now=now)
            for record in () if over else records:
                effects = self.place(record, key, now, history=not pushed)
                progress += bool(effects)
                out += effects
        return [*out, *sync.answered(key, frame, progress=progress, now=now)]

    def place(self, record: Record, source: PeerKey | None, now: Now, *, history: bool) -> list[Effect]:
        """Give a record its place, and all that waited for it; `source` is None for one of our own."""
        return self._kept(self.room.add(record), source, now, history=history)

    def _kept(self, added: list[Placed], source: PeerKey | None, now: Now, *, history: bool) -> list[Effect]:
        out: list[Effect] = []
        enacted = self.room.enacted() if isinstance(self.room, PrivateRoom) else []
        own = {one.id for one in enacted} & {one.record.id for one in added}
        out += [Enact(one) for one in enacted if one.id not in own]
        placed: Placed
        for placed in added:
            one = placed.record
            out += self.use()
            if one.id in own:
                out.append(Enact(one))
            out.append(Append(one, placed.clock, placed.main, placed.counts))
            if placed.forks:
                out.append(Forked(self.room.id, one.author, placed.forks))
            shown = one.id in self.preview
            self.preview.discard(one.id)
            mine = one.author == self._me
            if placed.counts:
                out.append(Accepted(one, placed.clock, mine, history, placed.late, shown))
            out += self.sync.placed(placed, source, now)
        return [*out, *self._pass_on(enacted, added, source)]
