"""Keeping one room the same at every member: who has what, what to ask of whom, what to tell.

Records are pulled, one batch from one peer at a time, in the room's order; only an author's own new record is pushed.
So a late joiner with thirty links gets its history once, and a flood waits at the flooder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.events import CatchUp, Delivered, Effect, Gap, Now, Send, Serve
from sandpiper.core.limits import (
    CATCH_UP_FROM,
    FLOOD_PULL_DELAY,
    GAP_GRACE,
    HEADS_DELAY,
    HEADS_DELAY_A_PEER,
    MAX_DELIVERY_NOTICES,
    PASS_OVER_SECONDS,
    RECENT,
    SYNC_SECONDS,
    WANT_SECONDS,
)
from sandpiper.wire.frames import Fetch, Heads, Records, Want
from sandpiper.wire.ids import PeerKey, RecordId
from sandpiper.wire.limits import MAX_ANSWER_FRAMES, MAX_BATCH_RECORDS, MAX_FETCH_IDS, MAX_HEADS
from sandpiper.wire.records import Head, Record

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from sandpiper.core.room import Placed, Room

PUSHED, WANTED, WANTED_RECENT, FETCHED = range(4)
"""`Records.answer`."""


class _Member:
    """What one linked member is known to hold."""

    __slots__ = ("fetched", "known", "passed_over", "sent", "strange")

    def __init__(self) -> None:
        self.known: dict[PeerKey, int] = {}
        self.strange: dict[RecordId, Head] = {}  # records of branches that we lack
        self.fetched: set[RecordId] = set()  # asked for already
        self.sent: int | None = None  # our own records up to here are with it or on their way; None: not known yet
        self.passed_over = 0.0  # not asked before this moment


class Sync:
    """The sync of one room with all its linked members."""

    def __init__(self, room: Room, me: PeerKey, rng: random.Random, now: Now) -> None:
        self.room = room
        self._me = me
        self._rng = rng
        self._members: dict[PeerKey, _Member] = {}
        self._asked: PeerKey | None = None
        self._asked_until = 0.0
        self._asked_recent = False
        self._dirty: set[PeerKey] = set()
        self._tell_at: float | None = None
        self._full_at = now.mono + SYNC_SECONDS * rng.uniform(0.5, 1.0)
        self._gap_since: dict[PeerKey, float] = {}
        self._gap_told: dict[PeerKey, int] = {}
        self._catching_up = 0
        self._answer_progress = 0
        self._plan_at: float | None = None

    @property
    def members(self) -> tuple[PeerKey, ...]:
        """Linked peers that share the room."""
        return tuple(self._members)

    def deadline(self) -> float:
        """When `tick` wants to be called next, in seconds of `Now.mono`."""
        times = [self._full_at]
        if self._tell_at is not None:
            times.append(self._tell_at)
        if self._asked is not None:
            times.append(self._asked_until)
        if self._plan_at is not None:
            times.append(self._plan_at)
        times += [since + GAP_GRACE for author, since in self._gap_since.items() if author not in self._gap_told]
        return min(times)

    # ------------------------------------------------------------ members come and go

    def join(self, peer: PeerKey) -> list[Effect]:
        """`peer` is linked and shares the room: tell it all heads."""
        self._members[peer] = _Member()
        return [Send((peer,), self._all_heads())]

    def part(self, peer: PeerKey, now: Now) -> list[Effect]:
        """`peer` is gone or has left the room."""
        if self._members.pop(peer, None) is None:
            return []
        if not self._members:
            self.room.forget_pending()
        if self._asked == peer:
            self._asked = None
        return self._plan(now)

    # ------------------------------------------------------------ what others say

    def heads(self, peer: PeerKey, frame: Heads, now: Now) -> list[Effect]:
        """`peer` tells what it holds: read delivery off it, and ask for what we lack."""
        member = self._members[peer]
        mine_before = member.known.get(self._me, 0)
        if frame.full:
            member.known.clear()
            member.strange.clear()
            member.passed_over = 0.0
        for head in frame.heads:
            author = PeerKey(head.author)
            if not self.room.roster.admits(author):
                continue
            member.known[author] = max(member.known.get(author, 0), head.seq)
            if head.seq <= self.room.head_seq(author) and not self.room.holds(head):
                member.strange[RecordId(head.id)] = head
        mine = member.known.get(self._me, 0)
        if member.sent is None:
            member.sent = mine
        return [*self._delivery(mine_before, mine), *self._plan(now)]

    def want(self, peer: PeerKey, frame: Want) -> list[Effect]:
        """`peer` asks for what it lacks."""
        if frame.recent:
            return [Serve(peer, self.room.id, tuple(self.room.newest(frame.recent)), (), WANTED_RECENT)]
        held: dict[PeerKey, int] = {}
        for head in frame.heads:
            held[PeerKey(head.author)] = max(held.get(PeerKey(head.author), 0), head.seq)
        return [
            Serve(peer, self.room.id, tuple(self.room.after(held, MAX_BATCH_RECORDS * MAX_ANSWER_FRAMES)), (), WANTED)
        ]

    def fetch(self, peer: PeerKey, ids: tuple[RecordId, ...]) -> list[Effect]:
        """`peer` asks for records by id: parents on branches that `Want` does not reach."""
        places, beside = self.room.locate(ids)
        return [Serve(peer, self.room.id, tuple(places), tuple(beside), FETCHED)]

    def served(self, peer: PeerKey, author: PeerKey, seq: int) -> None:
        """Our node has sent `peer` the records of `author` up to `seq`."""
        member = self._members.get(peer)
        if member is not None and author == self._me:
            member.sent = max(member.sent or 0, seq)

    def note_pushed(self, peer: PeerKey, records: tuple[Record, ...], *, over_rate: bool, now: Now) -> None:
        """`peer` pushed records: it holds them. Over its rate, they are pulled later instead of taken now."""
        member = self._members[peer]
        for record in records:
            member.known[record.author] = max(member.known.get(record.author, 0), record.seq)
        if over_rate:
            member.passed_over = now.mono + FLOOD_PULL_DELAY

    def answered(self, peer: PeerKey, frame: Records, *, progress: int, now: Now) -> list[Effect]:
        """A `Records` frame of `peer` has been placed: `progress` records of it are new. Ask on."""
        if frame.answer in (WANTED, WANTED_RECENT) and self._asked == peer:
            self._catching_up += progress
            self._answer_progress += progress
            if frame.more:
                self._asked_until = now.mono + WANT_SECONDS
                return []
            self._asked = None
            if frame.answer == WANTED and not self._answer_progress and not self.room.lost_parents():
                self._members[peer].passed_over = now.mono + PASS_OVER_SECONDS
        return self._plan(now)

    # ------------------------------------------------------------ what we have to say

    def placed(self, placed: Placed, source: PeerKey | None, now: Now) -> list[Effect]:
        """A record has its place: push our own, and tell the others' heads a little later."""
        record = placed.record
        if source is not None and (member := self._members.get(source)) is not None:
            member.known[record.author] = max(member.known.get(record.author, 0), record.seq)
            member.strange.pop(record.id, None)
        self._dirty.add(record.author)
        if self._tell_at is None and self._members:
            self._tell_at = now.mono + HEADS_DELAY + HEADS_DELAY_A_PEER * len(self._members)
        if source is not None or record.author != self._me:
            return []
        ready = []
        for peer, member in self._members.items():
            if member.sent == record.seq - 1:
                member.sent = record.seq
                ready.append(peer)
        push: list[Effect] = [Send(tuple(ready), Records(self.room.id, (record.raw,), PUSHED))] if ready else []
        return [*push, Delivered(self.room.id, record.id, 0, len(self._members))]

    def tick(self, now: Now) -> list[Effect]:
        """Do what is due."""
        out: list[Effect] = []
        if now.mono >= self._full_at:
            self._full_at = now.mono + SYNC_SECONDS * self._rng.uniform(0.8, 1.2)
            self._tell_at = None
            self._dirty.clear()
            if self._members:
                out.append(Send(self.members, self._all_heads()))
        elif self._tell_at is not None and now.mono >= self._tell_at:
            self._tell_at = None
            if self._members:
                heads = self.room.heads(sorted(self._dirty))
                out.append(Send(self.members, Heads(self.room.id, heads[:MAX_HEADS], full=False)))
            self._dirty.clear()
        if self._asked is not None and now.mono >= self._asked_until:
            self._members[self._asked].passed_over = now.mono + PASS_OVER_SECONDS
            self._asked = None
        return [*out, *self._plan(now)]

    # ------------------------------------------------------------ inside

    def _all_heads(self) -> Heads:
        return Heads(self.room.id, self.room.heads()[:MAX_HEADS])

    def _lacking(self, member: _Member) -> int:
        return sum(max(0, seq - self.room.head_seq(author)) for author, seq in member.known.items())

    def _plan(self, now: Now) -> list[Effect]:
        """Ask the member that has most of what we lack, and tell of holes."""
        out: list[Effect] = []
        self._plan_at = None
        lacking = {peer: self._lacking(member) for peer, member in self._members.items()}
        most = max(lacking.values(), default=0)
        if self._asked is None and most:
            if not self._catching_up and not self._asked_recent and most > CATCH_UP_FROM:
                out.append(CatchUp(self.room.id, most))
            able = [p for p, n in lacking.items() if n and self._members[p].passed_over <= now.mono]
            if able:
                best = max(able, key=lambda p: (lacking[p], p))
                recent = RECENT if most > CATCH_UP_FROM and not self._asked_recent else 0
                self._answer_progress = 0
                self._asked, self._asked_until = best, now.mono + WANT_SECONDS
                self._asked_recent = self._asked_recent or bool(recent)
                out.append(Send((best,), Want(self.room.id, self._main_heads(), recent)))
            else:
                self._plan_at = min(self._members[p].passed_over for p, n in lacking.items() if n)
        elif self._asked is None:
            if self._asked_recent or self._catching_up > CATCH_UP_FROM:
                out.append(CatchUp(self.room.id, 0, self._catching_up))
            self._catching_up, self._asked_recent = 0, False
        out += self._fetch()
        out += self._gaps(now)
        return out

    def _main_heads(self) -> tuple[Head, ...]:
        logs = self.room.logs.values()
        return tuple(Head(log.author, len(log), log.head_id) for log in logs if len(log))[:MAX_HEADS]

    def _fetch(self) -> Iterator[Effect]:
        """Ask by id for what lies on branches that we lack."""
        lost = {RecordId(head.id): head for head in self.room.lost_parents()}
        for peer, member in self._members.items():
            missing = [i for i in (*member.strange, *lost) if i not in member.fetched][:MAX_FETCH_IDS]
            missing = [i for i in missing if i not in self.room.pending]
            if missing:
                member.fetched.update(missing)
                yield Send((peer,), Fetch(self.room.id, tuple(missing)))

    def _gaps(self, now: Now) -> Iterator[Effect]:
        highest = dict(self.room.highest_pending())
        for member in self._members.values():
            for author, seq in member.known.items():
                highest[author] = max(highest.get(author, 0), seq)
        missing = {a: n for a, seq in highest.items() if (n := seq - self.room.head_seq(a)) > 0}
        for author in [a for a in self._gap_since if a not in missing]:
            del self._gap_since[author]
            if self._gap_told.pop(author, 0):
                yield Gap(self.room.id, author, 0)
        for author, count in missing.items():
            since = self._gap_since.setdefault(author, now.mono)
            if now.mono >= since + GAP_GRACE and author not in self._gap_told:
                self._gap_told[author] = count
                yield Gap(self.room.id, author, count)

    def _delivery(self, before: int, after: int) -> Iterator[Effect]:
        log = self.room.logs.get(self._me)
        if log is None:
            return
        after = min(after, len(log))
        for seq in range(max(before, after - MAX_DELIVERY_NOTICES) + 1, after + 1):
            held = sum(1 for member in self._members.values() if member.known.get(self._me, 0) >= seq)
            yield Delivered(self.room.id, log.id_at(seq), held, len(self._members))

    def undelivered(self) -> int:
        """How many of our own records some linked member is not known to hold."""
        mine = self.room.head_seq(self._me)
        return max((mine - member.known.get(self._me, 0) for member in self._members.values()), default=0)
