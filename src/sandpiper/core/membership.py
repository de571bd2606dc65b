"""A room that we are in, with its sync: taking records in, one by one or by the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.events import Accepted, Append, Effect, Enact, Forked, Now, Preview, RoomChanged, SaveRoom
from sandpiper.core.limits import MAX_PREVIEW, MAX_PUSHED, TYPING_SECONDS
from sandpiper.core.private import PrivateRoom
from sandpiper.core.sync import PUSHED, WANTED_RECENT, Sync

if TYPE_CHECKING:
    from sandpiper.core.linked import Linked
    from sandpiper.core.room import Placed, Room
    from sandpiper.wire.frames import Records
    from sandpiper.wire.ids import PeerKey, RecordId
    from sandpiper.wire.records import Record


class Membership:
    """A room that we are in, and its sync."""

    __slots__ = ("_me", "preview", "room", "sync", "typed_at", "used")

    def __init__(self, room: Room, sync: Sync, me: PeerKey) -> None:
        self.room = room
        self.sync = sync
        self._me = me
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
        secret = (room.secret, room.lock, room.relay) if isinstance(room, PrivateRoom) else ()
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
        out: list[Effect] = []
        added = self.room.add(record)
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
        return out
