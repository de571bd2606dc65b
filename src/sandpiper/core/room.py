"""A room: its logs, the order of its records, and what waits for a parent.

Order: each record has a clock = max(its author's time, 1 + the clocks of all its parents), where parents are the
author's previous record and `deps`. Sorting by (clock, id) puts causes before effects, ties by time and then id, and
depends on nothing but the records themselves: the same on every peer, whatever arrived first.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.limits import MAX_AUTHORS, MAX_PENDING
from sandpiper.core.log import Fork, Log
from sandpiper.core.roster import Everyone, Pair, Roster
from sandpiper.crypto.rooms import room_tag
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId, RoomId
from sandpiper.wire.limits import MAX_DEPS
from sandpiper.wire.records import Head, Profile, Record, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sandpiper.core.events import RoomKind, StoredRoom


class Placed(Struct, frozen=True):
    """A record that has its place: `main` on its author's chain, else beside it. `forks` names the seq at which
    this record proves for the first time that the author forked (0: it does not).
    """

    record: Record
    clock: int
    main: bool
    late: bool
    forks: int = 0


class Room:
    """All that is known of one room, without texts."""

    def __init__(self, room: RoomId, name: str, kind: RoomKind, me: PeerKey, peer: PeerKey | None = None) -> None:
        self.id = room
        self.tag = room_tag(room)
        self.name = name
        self.kind = kind
        self.peer = peer
        self.roster: Roster = Everyone() if peer is None else Pair(me, peer)
        self.logs: dict[PeerKey, Log] = {}
        self.pending: dict[RecordId, Record] = {}
        self.nicks: dict[PeerKey, str] = {}
        self.topic = ""
        self._topic_place = (-1, b"")
        self._waiting: dict[RecordId, dict[RecordId, None]] = {}
        self._parents: dict[RecordId, Head] = {}
        self._tips: dict[RecordId, tuple[int, Head]] = {}
        self._last = (-1, b"")

    @classmethod
    def restored(cls, stored: StoredRoom, me: PeerKey) -> Room:
        """The room as the disk has it."""
        room = cls(stored.room, stored.name, stored.kind, me, stored.peer)
        for kept in stored.logs:
            log = room.logs[kept.author] = Log(kept.author, kept.ids, kept.clocks)
            for place, clock, prev in kept.forks:
                log.add_fork(RecordId(place.id), Fork(place.seq, clock, prev))
            if kept.nick:
                room.nicks[kept.author] = kept.nick
            for head in log.heads():
                room._last = max(room._last, (room._clock(head), head.id))
        room.topic, room._topic_place = stored.topic, stored.topic_place
        for tip in stored.tips:
            room._tips[RecordId(tip.id)] = (room._clock(tip), tip)
        return room

    def __len__(self) -> int:
        """How many records are held."""
        return sum(len(log) + len(log.forks) for log in self.logs.values())

    def holds(self, place: Head) -> bool:
        """True when this very record has its place here."""
        log = self.logs.get(PeerKey(place.author))
        return log is not None and log.clock_of(place.seq, RecordId(place.id)) is not None

    def head_seq(self, author: PeerKey) -> int:
        """The last seq of an author's main chain, 0 for none."""
        log = self.logs.get(author)
        return len(log) if log is not None else 0

    def heads(self, authors: Iterable[PeerKey] | None = None) -> tuple[Head, ...]:
        """The ends of all logs, or of those named."""
        logs = self.logs.values() if authors is None else (self.logs[a] for a in authors if a in self.logs)
        return tuple(head for log in logs for head in log.heads())

    def next_place(self, author: PeerKey) -> tuple[int, RecordId, tuple[Head, ...]]:
        """Seq, prev and deps of a new record by `author`: deps are the newest records of others that none names."""
        log = self.logs.get(author)
        newest = sorted((tip for tip in self._tips.items() if tip[1][1].author != author), key=lambda t: t[1][0])
        deps = tuple(head for _, (_, head) in newest[-MAX_DEPS:])
        return (len(log) + 1, log.head_id, deps) if log is not None else (1, NO_RECORD, deps)

    # ------------------------------------------------------------ taking records in

    def add(self, record: Record) -> list[Placed]:
        """Place a record, and all that waited for it, parents first. Empty when it is known, waits for a parent, or
        is refused because a bound is reached (it will be offered again by sync).
        """
        if record.id in self.pending or self._is_held(record) or not self.roster.admits(record.author):
            return []
        if record.author not in self.logs and len(self.logs) >= MAX_AUTHORS:
            return []
        missing = self._missing_parent(record)
        if missing is not None:
            self._wait(record, missing)
            return []
        placed: list[Placed] = []
        ready = [record]
        while ready:
            one = ready.pop()
            done = self._place(one)
            if done is None:
                continue
            placed.append(done)
            self._parents.pop(one.id, None)
            for waiting in self._waiting.pop(one.id, ()):
                again = self.pending.pop(waiting)
                missing = self._missing_parent(again)
                if missing is None:
                    ready.append(again)
                else:
                    self._wait(again, missing)
        return placed

    def lost_parents(self) -> list[Head]:
        """Parents that records wait for and that no amount of catching up brings, because they lie on a branch
        that we do not know of: they must be fetched by id.
        """
        return [head for head in self._parents.values() if head.seq <= self.head_seq(PeerKey(head.author))]

    def highest_pending(self) -> Mapping[PeerKey, int]:
        """For each author with waiting records, the highest seq among them and the parents they wait for."""
        out: dict[PeerKey, int] = {}
        for record in self.pending.values():
            out[record.author] = max(out.get(record.author, 0), record.seq)
        for head in self._parents.values():
            author = PeerKey(head.author)
            out[author] = max(out.get(author, 0), head.seq)
        return out

    def _is_held(self, record: Record) -> bool:
        log = self.logs.get(record.author)
        return log is not None and log.clock_of(record.seq, record.id) is not None

    def _missing_parent(self, record: Record) -> Head | None:
        for parent in _parents(record):
            if not self.holds(parent):
                return parent
        return None

    def _wait(self, record: Record, parent: Head) -> None:
        if len(self.pending) >= MAX_PENDING:
            return
        self.pending[record.id] = record
        self._parents[RecordId(parent.id)] = parent
        self._waiting.setdefault(RecordId(parent.id), {})[record.id] = None

    def _clock(self, place: Head) -> int:
        clock = self.logs[PeerKey(place.author)].clock_of(place.seq, RecordId(place.id))
        return -1 if clock is None else clock

    def _place(self, record: Record) -> Placed | None:
        if self._is_held(record):
            return None
        clock = max([record.time, *(self._clock(parent) + 1 for parent in _parents(record))])
        log = self.logs.get(record.author)
        if log is None:
            log = self.logs[record.author] = Log(record.author)
        main = record.seq == len(log) + 1 and record.prev == log.head_id
        forks = 0
        if main:
            log.append(record.id, clock)
        else:
            forks = record.seq if not log.forks else 0
            if not log.add_fork(record.id, Fork(record.seq, clock, record.prev)):
                return None
        self._tips.pop(record.prev, None)
        for dep in record.deps:
            self._tips.pop(RecordId(dep.id), None)
        self._tips[record.id] = (clock, Head(record.author, record.seq, record.id))
        place = (clock, record.id)
        late = place < self._last
        self._last = max(self._last, place)
        match record.body:
            case Topic(text=text) if place > self._topic_place:
                self.topic, self._topic_place = text, place
            case Profile(nick=nick):
                self.nicks[record.author] = nick
            case _:
                pass
        return Placed(record, clock, main, late, forks)

    def forget_pending(self) -> None:
        """Drop what waits: nobody is left who could send its parents; sync offers it again."""
        self.pending.clear()
        self._waiting.clear()
        self._parents.clear()

    # ------------------------------------------------------------ giving records out

    def after(self, heads: Mapping[PeerKey, int], limit: int) -> list[tuple[PeerKey, int]]:
        """Places of the first `limit` records past `heads` (last seq by author), in the room's order: every one
        finds its parents held by whoever holds those before it.
        """
        queue = [
            (log.clock_at(seq), log.id_at(seq), log.author, seq)
            for log in self.logs.values()
            if (seq := heads.get(log.author, 0) + 1) <= len(log)
        ]
        heapq.heapify(queue)
        out: list[tuple[PeerKey, int]] = []
        while queue and len(out) < limit:
            _, _, author, seq = queue[0]
            out.append((author, seq))
            log = self.logs[author]
            if seq < len(log):
                heapq.heapreplace(queue, (log.clock_at(seq + 1), log.id_at(seq + 1), author, seq + 1))
            else:
                heapq.heappop(queue)
        return out

    def locate(self, ids: Iterable[RecordId]) -> tuple[list[tuple[PeerKey, int]], list[RecordId]]:
        """Where these records are held: places on main chains, and ids of those beside them."""
        places: list[tuple[PeerKey, int]] = []
        beside: list[RecordId] = []
        for record in ids:
            for log in self.logs.values():
                if record in log.forks:
                    beside.append(record)
                elif (seq := log.find(record)) is not None:
                    places.append((log.author, seq))
        return places, beside

    def newest(self, limit: int) -> list[tuple[PeerKey, int]]:
        """Places of the last `limit` records in the room's order, oldest of them first."""

        def back(log: Log) -> Iterator[tuple[int, RecordId, PeerKey, int]]:
            for seq in range(len(log), 0, -1):
                yield log.clock_at(seq), log.id_at(seq), log.author, seq

        merged = heapq.merge(*(back(log) for log in self.logs.values()), reverse=True)
        return [(author, seq) for (_, _, author, seq), _ in zip(merged, range(limit), strict=False)][::-1]


def _parents(record: Record) -> Iterator[Head]:
    if record.seq > 1:
        yield Head(record.author, record.seq - 1, record.prev)
    yield from record.deps
