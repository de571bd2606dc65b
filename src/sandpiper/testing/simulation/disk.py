"""What one simulated peer has on disk: the store's promises (commit, crash, read back) without files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.events import Append, Derived, Enact, Judged, RoomKind, SaveRoom, StoredLog, StoredRoom
from sandpiper.crypto.rooms import NO_SECRET, RoomSecret
from sandpiper.errors import LocalProtocolError
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.limits import MAX_BATCH_BYTES
from sandpiper.wire.records import Head, Profile, Record, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable

Place = tuple[int, RecordId]
"""Where a record stands in its room: rooms are sorted by (clock, id)."""


class _Shelf:
    """One room."""

    def __init__(
        self,
        room: RoomId,
        name: str,
        kind: RoomKind,
        peer: PeerKey | None,
        secret: RoomSecret = NO_SECRET,
        since: int = 0,
    ) -> None:
        self.room = room
        self.name = name
        self.kind: RoomKind = kind
        self.peer = peer
        self.joined = True
        self.secret = secret
        self.since = since
        self.before: dict[PeerKey, Head] = {}
        self.acts: dict[RecordId, Record] = {}
        self.void: dict[PeerKey, frozenset[RecordId]] = {}
        self.kept: dict[RecordId, Append] = {}
        self.main: dict[PeerKey, list[RecordId]] = {}
        self.tips: dict[RecordId, Head] = {}
        self.nicks: dict[PeerKey, str] = {}
        self.topic = ""
        self.topic_place: tuple[int, bytes] = (-1, b"")

    def append(self, new: Append) -> None:
        record = new.record
        chain = self.main.setdefault(record.author, [])
        if record.id in self.kept:
            raise LocalProtocolError("the engine appended a record twice")
        begins = len(chain) == 0 and self.since and record.seq > 1
        if begins and new.main:
            self.before[record.author] = Head(record.author, record.seq - 1, record.prev)
        if new.main and record.seq != self.last(record.author) + 1:
            raise LocalProtocolError("the engine appended a record out of its log's order")
        if new.clock < self.since:
            raise LocalProtocolError("the engine appended a record that is not for this peer")
        lost = [dep.id for dep in record.deps if dep.id not in self.kept]
        if not self.since and (lost or (record.prev and record.prev not in self.kept)):
            raise LocalProtocolError("the engine appended a record before its parents")
        self.kept[record.id] = new
        if new.main:
            chain.append(record.id)
        for parent in (record.prev, *(dep.id for dep in record.deps)):
            self.tips.pop(RecordId(parent), None)
        self.tips[record.id] = Head(record.author, record.seq, record.id)
        if not new.counts:
            self.void[record.author] = self.void.get(record.author, frozenset()) | {record.id}
        match record.body:
            case _ if self.hides(record):
                pass
            case Profile(nick=nick):
                self.nicks[record.author] = nick
            case Topic(text=text) if (new.clock, record.id) > self.topic_place:
                self.topic, self.topic_place = text, (new.clock, record.id)
            case _:
                pass

    def last(self, author: PeerKey) -> int:
        """The seq of the main chain's last record."""
        return self.first(author) - 1 + len(self.main.get(author, ()))

    def first(self, author: PeerKey) -> int:
        """The seq with which the main chain begins."""
        return self.before[author].seq + 1 if author in self.before else 1

    def hides(self, record: Record) -> bool:
        return record.id in self.void.get(record.author, ())

    def judge(self, judged: Judged) -> None:
        self.void[judged.author] = judged.void
        self.topic, self.topic_place = "", (-1, b"")
        self.nicks.pop(judged.author, None)
        for kept in sorted(self.kept.values(), key=lambda one: (one.clock, one.record.id)):
            record = kept.record
            match record.body:
                case _ if self.hides(record):
                    pass
                case Profile(nick=nick) if record.author == judged.author:
                    self.nicks[record.author] = nick
                case Topic(text=text):
                    self.topic, self.topic_place = text, (kept.clock, record.id)
                case _:
                    pass

    def stored(self) -> StoredRoom:
        forks: dict[PeerKey, list[tuple[Head, int, RecordId]]] = {}
        for kept in self.kept.values():
            record = kept.record
            if not kept.main:
                place = Head(record.author, record.seq, record.id)
                forks.setdefault(record.author, []).append((place, kept.clock, record.prev))
        logs = tuple(
            StoredLog(
                author=author,
                ids=b"".join(ids),
                clocks=tuple(self.kept[i].clock for i in ids),
                forks=tuple(forks.get(author, ())),
                nick=self.nicks.get(author, ""),
                before=self.before.get(author),
            )
            for author, ids in self.main.items()
        )
        return StoredRoom(
            room=self.room,
            name=self.name,
            kind=self.kind,
            peer=self.peer,
            logs=logs,
            tips=tuple(self.tips.values()),
            topic=self.topic,
            topic_place=self.topic_place,
            joined=self.joined,
            secret=self.secret,
            acts=tuple(self.acts.values()),
            since=self.since,
        )


class Disk:
    """Committed records and rooms, and what waits for the next commit.

    It refuses what a real store would choke on (a record twice, a hole in a log, a record before its parents), so an
    engine that breaks these rules fails the simulation at once, with `LocalProtocolError`.
    """

    def __init__(self) -> None:
        self._shelves: dict[RoomId, _Shelf] = {}
        self._staged: list[Append | SaveRoom | Enact | Judged] = []

    # ------------------------------------------------------------ writing

    def stage(self, effect: Append | SaveRoom | Enact | Judged) -> None:
        """Write, to be kept by the next `commit`."""
        self._staged.append(effect)

    def commit(self) -> int:
        """Keep what was staged; says how many records that was."""
        records = 0
        for effect in self._staged:
            match effect:
                case SaveRoom(room=room):
                    if room not in self._shelves:
                        self._shelves[room] = _Shelf(
                            room, effect.name, effect.kind, effect.peer, effect.secret, effect.since
                        )
                    self._shelves[room].joined = effect.joined
                case Append(record=record):
                    records += 1
                    self._shelves[record.room].append(effect)
                case Enact(record=record):
                    self._shelves[record.room].acts.setdefault(record.id, record)
                case Judged(room=room):
                    self._shelves[room].judge(effect)
        self._staged.clear()
        return records

    def derived(self, judged: Judged) -> Derived:
        """What people see after the judgement, which must be committed."""
        shelf = self._shelves[judged.room]
        return Derived(shelf.topic, shelf.topic_place, shelf.nicks.get(judged.author, ""))

    def crash(self) -> None:
        """Lose everything since the last commit."""
        self._staged.clear()

    # ------------------------------------------------------------ reading

    def stored(self) -> tuple[StoredRoom, ...]:
        """What a restarted engine is given."""
        return tuple(shelf.stored() for shelf in self._shelves.values())

    def rooms(self) -> tuple[RoomId, ...]:
        """All rooms ever joined."""
        return tuple(self._shelves)

    def holds(self, room: RoomId, record: bytes) -> bool:
        """True when this record survives a crash now."""
        shelf = self._shelves.get(room)
        return shelf is not None and record in shelf.kept

    def ids(self, room: RoomId) -> set[RecordId]:
        """The ids of all records of a room."""
        shelf = self._shelves.get(room)
        return set(shelf.kept) if shelf is not None else set()

    def places(self, room: RoomId) -> list[Place]:
        """(clock, id) of all records of a room that count, in the room's order: the same on all peers that have
        converged.
        """
        shelf = self._shelves.get(room)
        if shelf is None:
            return []
        return sorted((kept.clock, kept.record.id) for kept in shelf.kept.values() if not shelf.hides(kept.record))

    def history(self, room: RoomId) -> list[Record]:
        """All records of a room, in the room's order."""
        shelf = self._shelves.get(room)
        return [shelf.kept[i].record for _, i in self.places(room)] if shelf is not None else []

    def read(self, room: RoomId, places: Iterable[tuple[PeerKey, int]]) -> list[Record]:
        """The records at these places of their authors' main chains, up to the first that is not held: at most
        `MAX_BATCH_BYTES` together, but always one.
        """
        shelf = self._shelves[room]
        chains = ((shelf.main.get(author, []), seq - shelf.first(author)) for author, seq in places)
        return _cut(shelf.kept[chain[at]] if 0 <= at < len(chain) else None for chain, at in chains)

    def read_beside(self, room: RoomId, ids: Iterable[RecordId]) -> list[Record]:
        """The records beside main chains that have these ids; what is not held is left out. Cut as in `read`."""
        kept = (self._shelves[room].kept.get(i) for i in ids)
        return _cut(found for found in kept if found is not None and not found.main)


def _cut(found: Iterable[Append | None]) -> list[Record]:
    out: list[Record] = []
    size = 0
    for kept in found:
        if kept is None:
            break
        size += len(kept.record.raw)
        if out and size > MAX_BATCH_BYTES:
            break
        out.append(kept.record)
    return out
