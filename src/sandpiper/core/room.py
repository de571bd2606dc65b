"""A room: its logs, the order of its records, and what waits for a parent.

Order: each record has a clock = max(its author's time, 1 + the clocks of all its parents), where parents are the
author's previous record and `deps`. Sorting by (clock, id) puts causes before effects, ties by time and then id, and
depends on nothing but the records themselves: the same on every peer, whatever arrived first.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.floor import Floor
from sandpiper.core.limits import FETCH_BACK, MAX_AUTHORS, MAX_BRANCHES, MAX_PENDING
from sandpiper.core.log import Fork, Log
from sandpiper.core.roster import Everyone, Pair, Roster
from sandpiper.crypto.rooms import room_tag
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId, RoomId
from sandpiper.wire.limits import MAX_BATCH_RECORDS, MAX_DEPS, MAX_HEADS
from sandpiper.wire.records import Head, Profile, Record, Topic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sandpiper.core.events import RoomKind, StoredRoom


class Placed(Struct, frozen=True):
    """A record that has its place: `main` on its author's chain, else beside it. `forks` names the seq at which
    this record proves for the first time that the author forked (0: it does not). `counts` false: the author was not
    in good standing; it is kept because others that count were built on it, and is not shown.
    """

    record: Record
    clock: int
    main: bool
    late: bool
    forks: int = 0
    counts: bool = True


class Room:
    """All that is known of one room, without texts."""

    def __init__(self, room: RoomId, name: str, kind: RoomKind, me: PeerKey, peer: PeerKey | None = None) -> None:
        self.id = room
        self.tag = room_tag(room)
        self.name = name
        self.kind = kind
        self.peer = peer
        self._me = me
        self.roster: Roster = Everyone() if peer is None else Pair(me, peer)
        self.logs: dict[PeerKey, Log] = {}
        self.pending: dict[RecordId, Record] = {}
        self.nicks: dict[PeerKey, str] = {}
        self.floor = Floor()
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
        room.restore(stored)
        return room

    def restore(self, stored: StoredRoom) -> None:
        """Take in what the disk has."""
        for kept in stored.logs:
            log = self.logs[kept.author] = Log(kept.author, kept.ids, kept.clocks, kept.before)
            for place, clock, prev in sorted(kept.forks, key=lambda fork: fork[0].seq):
                log.add_fork(RecordId(place.id), Fork(place.seq, clock, prev))
            if kept.nick:
                self.nicks[kept.author] = kept.nick
            if len(log):
                self._last = max(self._last, (log.clock_at(len(log)), log.head_id))
            for record, fork in log.forks.items():
                self._last = max(self._last, (fork.clock, record))
        self.topic, self._topic_place = stored.topic, stored.topic_place
        for tip in stored.tips:
            self._tips[RecordId(tip.id)] = (self.clock_of(tip), tip)

    def __len__(self) -> int:
        """How many records are held."""
        return sum(log.held for log in self.logs.values())

    def holds(self, place: Head) -> bool:
        """True when this very record has its place here."""
        log = self.logs.get(PeerKey(place.author))
        return log is not None and log.clock_of(place.seq, RecordId(place.id)) is not None

    def is_main(self, place: Head) -> bool:
        """True when this very record is on its author's main chain here."""
        log = self.logs.get(PeerKey(place.author))
        return log is not None and place.seq <= len(log) and log.id_at(place.seq) == place.id

    def begins(self, peer: PeerKey) -> int:
        """The clock from which on the history is for `peer`; 0: all of it."""
        return 0

    def head_seq(self, author: PeerKey) -> int:
        """The last seq of an author's main chain, 0 for none."""
        log = self.logs.get(author)
        return len(log) if log is not None else 0

    def last_seq(self, author: PeerKey) -> int:
        """The last seq held of an author on any branch, 0 for none: what is past it comes in order, what is not
        past it and not held lies on another branch. What is not for us counts as held.
        """
        log, hidden = self.logs.get(author), self.floor.last(author)
        return max(log.last if log is not None else 0, hidden.seq if hidden is not None else 0)

    def takes(self, author: PeerKey) -> bool:
        """True when records of `author` have a place here."""
        room_left = author in self.logs or len(self.logs) < MAX_AUTHORS or author == self._me
        return room_left and self.roster.takes(author)

    def counts(self, author: PeerKey, seq: int, record: RecordId) -> bool:
        """True when this record, held or not, is by somebody in good standing."""
        return self.roster.takes(author)

    def reach(self, author: PeerKey, seq: int) -> int:
        """The last seq of an author that can count, of those up to `seq`; 0: none."""
        return seq if self.takes(author) else 0

    def void(self, author: PeerKey) -> Collection[RecordId]:
        """Records of an author that are held and do not count: not shown, and given only to who asks for them by id."""
        return ()

    def heeds(self, author: PeerKey) -> bool:
        """True when it matters what others say they hold of `author`."""
        return self.roster.admits(author)

    def acts_named(self, ids: Collection[RecordId]) -> tuple[bytes, ...]:
        """Those of the records that are control records of a private room."""
        return ()

    def _allows(self, record: Record) -> bool:
        return self.takes(record.author)

    def _counts(self, record: Record) -> bool:
        return True

    def _settled(self, record: Record, *, main: bool) -> None:
        """A record has its place."""

    def heads(self, authors: Iterable[PeerKey] | None = None) -> tuple[Head, ...]:
        """The ends of all logs, or of those named; forked branches last, so that they crowd out nobody's log."""
        logs = list(self.logs.values()) if authors is None else [self.logs[a] for a in authors if a in self.logs]
        main = [Head(log.author, len(log), log.head_id) for log in logs if len(log)]
        return (*main, *(head for log in logs for head in log.branches()))

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
        if record.id in self.pending or self._is_held(record) or not self._allows(record):
            return []
        clock = self._clock_or_missing(record)
        if isinstance(clock, Head):
            self._wait(record, clock)
            return []
        return self._place_all([(record, clock)] if clock >= self.floor.since else [])

    def learn(self, before: Iterable[Head], *, single: bool) -> list[Placed]:
        """A member says which records are not for us (see `Floor.learn`): what waited for them need not."""
        self.floor.learn(before, single=single)
        ready = [one for i, head in list(self._parents.items()) if self.floor.hides(head) for one in self._freed(i)]
        return self._place_all(ready)

    def _place_all(self, ready: list[tuple[Record, int]]) -> list[Placed]:
        placed: list[Placed] = []
        while ready:
            one, clock = ready.pop()
            placed.append(self._place(one, clock))
            if one.id in self._waiting:
                ready += self._freed(one.id)
        return placed

    def _freed(self, parent: RecordId) -> list[tuple[Record, int]]:
        """What waited for this record and nothing else, with its clock."""
        self._parents.pop(parent, None)
        out: list[tuple[Record, int]] = []
        for waiting in self._waiting.pop(parent, ()):
            again = self.pending.pop(waiting)
            clock = self._clock_or_missing(again)
            if isinstance(clock, Head):
                self._wait(again, clock)
            elif self._allows(again) and clock >= self.floor.since:
                out.append((again, clock))
        return out

    def lost_parents(self) -> list[RecordId]:
        """Parents that records wait for and that no amount of catching up brings, because they lie on a branch
        that we do not know of: they must be fetched by id.
        """
        return [i for i, head in self._parents.items() if self._is_lost(PeerKey(head.author), head.seq)]

    def _is_lost(self, author: PeerKey, seq: int) -> bool:
        return seq <= self.last_seq(author)

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

    def _clock_or_missing(self, record: Record) -> int | Head:
        """The record's clock, or the first of its parents that is not held. Of those that are not for us the clock is
        not known, and need not be: it is below `floor.since`, and this record's is not.
        """
        clock = record.time
        if record.seq > 1:
            log = self.logs.get(record.author)
            before = log.clock_of(record.seq - 1, record.prev) if log is not None else None
            if before is None:
                prev = Head(record.author, record.seq - 1, record.prev)
                if not self.floor.hides(prev):
                    return prev
                before = self.floor.since - 1
            clock = max(clock, before + 1)
        for dep in record.deps:
            log = self.logs.get(PeerKey(dep.author))
            before = log.clock_of(dep.seq, RecordId(dep.id)) if log is not None else None
            if before is None:
                if not self.floor.hides(dep):
                    return dep
                before = self.floor.since - 1
            clock = max(clock, before + 1)
        return clock

    def _wait(self, record: Record, parent: Head) -> None:
        if len(self.pending) >= MAX_PENDING:
            self._give_up(next(iter(self.pending.values())))
        self.pending[record.id] = record
        self._parents[RecordId(parent.id)] = parent
        self._waiting.setdefault(RecordId(parent.id), {})[record.id] = None

    def _give_up(self, record: Record) -> None:
        """Forget a waiting record, the oldest: what honest peers sent has found its parents long ago."""
        parent = self._clock_or_missing(record)
        assert isinstance(parent, Head)
        del self.pending[record.id]
        waiting = self._waiting[RecordId(parent.id)]
        del waiting[record.id]
        if not waiting:
            del self._waiting[RecordId(parent.id)]
            del self._parents[RecordId(parent.id)]

    def clock_of(self, place: Head) -> int:
        """The order clock of a record that is held; -1: it is not."""
        clock = self.logs[PeerKey(place.author)].clock_of(place.seq, RecordId(place.id))
        return -1 if clock is None else clock

    def _place(self, record: Record, clock: int) -> Placed:
        log = self.logs.get(record.author)
        if log is None:
            before = Head(record.author, record.seq - 1, record.prev) if record.seq > 1 else None
            log = self.logs[record.author] = Log(record.author, before=before)
        main = record.seq == len(log) + 1 and record.prev == log.head_id
        forks = 0
        if main:
            log.append(record.id, clock)
        else:
            forks = record.seq if not log.forks else 0
            log.add_fork(record.id, Fork(record.seq, clock, record.prev))
        self._tips.pop(record.prev, None)
        for dep in record.deps:
            self._tips.pop(RecordId(dep.id), None)
        self._tips[record.id] = (clock, Head(record.author, record.seq, record.id))
        place = (clock, record.id)
        late = place < self._last
        self._last = max(self._last, place)
        self._settled(record, main=main)
        counts = self._counts(record)
        match record.body:
            case _ if not counts:
                pass
            case Topic(text=text) if place > self._topic_place:
                self.topic, self._topic_place = text, place
            case Profile(nick=nick):
                self.nicks[record.author] = nick
            case _:
                pass
        return Placed(record, clock, main, late, forks, counts)

    def forget_pending(self) -> None:
        """Drop what waits: nobody is left who could send its parents; sync offers it again."""
        self.pending.clear()
        self._waiting.clear()
        self._parents.clear()

    # ------------------------------------------------------------ giving records out

    def after(
        self, heads: Mapping[PeerKey, int], limit: int, since: int = 0
    ) -> tuple[list[tuple[PeerKey, int]], list[RecordId]]:
        """The first `limit` records past `heads` (last seq by author) of clock `since` and later ones, in the room's
        order: every one finds its parents held by whoever holds those before it. Places on main chains, and ids of
        those beside them.
        """
        queue = [
            (log.clock_at(seq), log.id_at(seq), log.author, seq)
            for log in self.logs.values()
            if (seq := max(heads.get(log.author, 0) + 1, log.from_clock(since))) <= len(log)
        ]
        for log in self.logs.values():
            past = heads.get(log.author, 0)
            forks = ((fork, i) for i, fork in log.forks.items() if fork.seq > past and fork.clock >= since)
            queue += [(fork.clock, i, log.author, 0) for fork, i in forks]
        void = {log.author: self.void(log.author) for log in self.logs.values()}
        heapq.heapify(queue)
        places: list[tuple[PeerKey, int]] = []
        beside: list[RecordId] = []
        while queue and len(places) + len(beside) < limit:
            _, record, author, seq = queue[0]
            log = self.logs[author]
            counts = record not in void[author]
            if not seq:
                if counts:
                    beside.append(record)
                heapq.heappop(queue)
                continue
            if counts:
                places.append((author, seq))
            if seq < len(log):
                heapq.heapreplace(queue, (log.clock_at(seq + 1), log.id_at(seq + 1), author, seq + 1))
            else:
                heapq.heappop(queue)
        return places, beside

    def before(self, since: int) -> tuple[Head, ...] | None:
        """The last records of all logs before this clock; None: that is not known here."""
        if not since or self.floor.since > since or (self.floor.since and not self.floor.told):
            return None
        out = {end.id: end for end in self.floor.ends()}
        for log in self.logs.values():
            seq = log.from_clock(since) - 1
            end = Head(log.author, seq, log.id_at(seq)) if seq >= log.first else log.before
            if end.seq:
                out[end.id] = end
            beside = (Head(log.author, fork.seq, i) for i, fork in log.forks.items() if fork.clock < since)
            out |= {head.id: head for head in list(beside)[-MAX_BRANCHES:] if head.seq > seq}
        return tuple(out.values())[:MAX_HEADS]

    def hidden(self, ids: Collection[RecordId], since: int) -> tuple[Head, ...]:
        """Those of these records that are held and lie before this clock."""
        found = []
        for record in ids if since else ():
            for log in self.logs.values():
                fork = log.forks.get(record)
                seq = fork.seq if fork is not None else log.find(record)
                if seq is not None and (log.clock_of(seq, record) or 0) < since:
                    found.append(Head(log.author, seq, record))
        return tuple(found)

    def locate(self, ids: Collection[RecordId], since: int = 0) -> tuple[list[tuple[PeerKey, int]], list[RecordId]]:
        """Where these records are held that are of clock `since` or a later one, each after some that come before it
        on its branch: whoever lacks one is likely to lack those, too. Places on main chains, and ids of those beside
        them; at most one batch.
        """
        back = min(FETCH_BACK, MAX_BATCH_RECORDS // max(1, len(ids)))
        places: dict[tuple[PeerKey, int], None] = {}
        beside: dict[RecordId, None] = {}
        for record in ids:
            for log in self.logs.values():
                if record in log.forks:
                    beside |= dict.fromkeys(i for i in log.branch(record, back) if log.forks[i].clock >= since)
                elif (seq := log.find(record)) is not None:
                    first = max(log.from_clock(since), seq - back + 1)
                    places |= dict.fromkeys((log.author, n) for n in range(first, seq + 1))
        return list(places), list(beside)

    def newest(self, limit: int, since: int = 0) -> list[tuple[PeerKey, int]]:
        """Places of the last `limit` records in the room's order of clock `since` and later ones, oldest first."""

        def back(log: Log) -> Iterator[tuple[int, RecordId, PeerKey, int]]:
            void = self.void(log.author)
            for seq in range(len(log), log.from_clock(since) - 1, -1):
                if void and log.id_at(seq) in void:
                    continue
                yield log.clock_at(seq), log.id_at(seq), log.author, seq

        merged = heapq.merge(*(back(log) for log in self.logs.values()), reverse=True)
        return [(author, seq) for (_, _, author, seq), _ in zip(merged, range(limit), strict=False)][::-1]
