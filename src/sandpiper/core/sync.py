"""Keeping one room the same at every member: who has what, what to ask of whom, what to tell.

Records are pulled, one batch from one peer at a time, in the room's order; only an author's own new record is pushed.
So a late joiner with thirty links gets its history once, and a flood waits at the flooder. Who has just come in by a
code has what it would ask for at once: a short history, from whoever let it in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.events import CatchUp, Delivered, Effect, Gap, Now, Send, Serve
from sandpiper.core.limits import (
    CATCH_UP_FROM,
    FLOOD_PULL_DELAY,
    FLOOD_PULL_LEAST,
    GAP_GRACE,
    HEADS_DELAY,
    HEADS_DELAY_A_PEER,
    MAX_CLAIMS,
    MAX_DELIVERY_NOTICES,
    MAX_PUSHED,
    PASS_OVER_SECONDS,
    RECENT,
    SYNC_SECONDS,
    WANT_SECONDS,
)
from sandpiper.core.vouching import pieces
from sandpiper.wire.admission import Vouch
from sandpiper.wire.frames import Fetch, Heads, Records, Want
from sandpiper.wire.ids import PeerKey, RecordId
from sandpiper.wire.limits import MAX_ANSWER_FRAMES, MAX_BATCH_RECORDS, MAX_FETCH_IDS, MAX_HEADS
from sandpiper.wire.records import Head, Record

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    from sandpiper.core.room import Placed, Room

PUSHED, WANTED, WANTED_RECENT, FETCHED = range(4)
"""`Records.answer`."""


class _Member:
    """What one linked member is known to hold."""

    __slots__ = (
        "begins", "fetched", "mine", "never", "owes", "passed_over", "paused", "pulled", "pushed", "sent", "short",
        "unheld",
    )  # fmt: skip

    def __init__(self) -> None:
        self.begins = 0  # the history is for it from this clock on
        self.never = 0  # so our own records up to here are not
        self.mine = 0  # it says that it holds our own records up to here
        self.unheld: dict[RecordId, Head] = {}  # records that it says it holds and we do not
        self.pushed: Head | None = None  # the newest of those that it pushed
        self.fetched: set[RecordId] = set()  # asked for by id since its last full heads
        self.sent: int | None = None  # our own records up to here are with it or on their way; None: not known yet
        self.owes = 0  # frames of answers that it may still send
        self.short = 0  # answers in a row that brought less than was claimed: others are asked first
        self.passed_over = 0.0  # did not give what it says it holds: not asked before this moment, and others first
        self.paused = 0.0  # pushes too fast: not asked before this moment
        self.pulled = 0  # records that the last answers brought


class Sync:
    """The sync of one room with all its linked members."""

    def __init__(self, room: Room, me: PeerKey, rng: random.Random, now: Now) -> None:
        self.room = room
        self.giver: PeerKey | None = None
        """Who has just let us in for the first time, and gives us a short history before we ask."""
        self._me = me
        self._rng = rng
        self._members: dict[PeerKey, _Member] = {}
        self._asked: PeerKey | None = None
        self._asked_until = 0.0
        self._asked_last = 0.0  # an answer of many frames ends here at the latest
        self._asked_claim = 0
        self._asked_for = WANTED
        self._asked_recent = False
        self._dirty: set[PeerKey] = set()
        self._tell_at: float | None = None
        self._full_at = now.mono + SYNC_SECONDS * rng.uniform(0.5, 1.0)
        self._gaps_at: float | None = None
        self._gaps_seen: set[PeerKey] = set()
        self._gaps_told: dict[PeerKey, int] = {}
        self._catching_up = 0
        self._answer_progress = 0
        self._plan_at: float | None = None
        self._changed = False  # since the last plan; planning costs time, and anyone may send us frames

    @property
    def members(self) -> tuple[PeerKey, ...]:
        """Linked peers that share the room."""
        return tuple(self._members)

    def deadline(self) -> float:
        """When `tick` wants to be called next, in seconds of `Now.mono`."""
        asked_until = None if self._asked is None else self._asked_until
        return min(
            t for t in (self._full_at, self._tell_at, self._plan_at, self._gaps_at, asked_until) if t is not None
        )

    # ------------------------------------------------------------ members come and go

    def join(self, peer: PeerKey, *, newcomer: bool = False) -> list[Effect]:
        """`peer` is linked and shares the room: tell it all heads. A `newcomer`, whom we have let in and who has said
        nothing here, would ask for all of a short history; and whoever has let us in, for the little that we have said
        since: that goes unasked.
        """
        member = self._members[peer] = _Member()
        member.begins = self.room.begins(peer)
        given: list[Effect] = []
        if newcomer and not self.room.head_seq(peer):
            given = self._short_history(peer, member.begins)
        elif peer == self.giver:
            self.giver, member.owes = None, MAX_ANSWER_FRAMES
            given = self._first_words(peer, member)
        self._changed = True
        return [*given, *self._heads_to((peer,), self.room.heads(), full=True)]

    def _short_history(self, peer: PeerKey, begins: int) -> list[Effect]:
        short = 0 < len(self.room.newest(RECENT + 1, begins)) <= RECENT
        return self.want(peer, Want(self.room.id, ())) if short else []

    def _first_words(self, peer: PeerKey, member: _Member) -> list[Effect]:
        last = self.room.head_seq(self._me)
        if last > MAX_PUSHED:
            return []
        member.sent = last
        places = tuple((self._me, seq) for seq in range(member.never + 1, last + 1))  # what is for it, and no other
        return [Serve(peer, self.room.id, places, (), PUSHED)] if places else []

    def reconsider(self, now: Now) -> list[Effect]:
        """Who may write here has changed: what was of no use may be wanted now."""
        for peer, member in self._members.items():
            member.begins = self.room.begins(peer)
        self._changed = True
        return self._plan(now)

    def part(self, peer: PeerKey, now: Now) -> list[Effect]:
        """`peer` is gone or has left the room."""
        self.giver = None if peer == self.giver else self.giver
        if self._members.pop(peer, None) is None:
            return []
        if not self._members:
            self.room.forget_pending()
        if self._asked == peer:
            self._asked = None
        self._changed = True
        return self._plan(now)

    # ------------------------------------------------------------ what others say

    def heads(self, peer: PeerKey, frame: Heads, now: Now) -> list[Effect]:
        """`peer` tells what it holds: read delivery off it, and ask for what we lack."""
        member = self._members[peer]
        mine_before = member.mine
        if frame.full:
            member.mine = member.never
            member.unheld.clear()
            member.fetched.clear()
            member.sent = member.sent or 0
            self._changed = True
        for head in frame.heads:
            self._note_head(member, head)
            if head.author == self._me:
                member.sent = max(member.sent or 0, head.seq)
                if self.room.is_main(head):
                    member.mine = max(member.mine, head.seq)
        return [*self._delivery(mine_before, member.mine), *self._plan(now)]

    def want(self, peer: PeerKey, frame: Want) -> list[Effect]:
        """`peer` asks for what it lacks."""
        since = max(frame.since, self.room.begins(peer))
        before = self.room.before(since)
        told = (since, before) if before is not None else (0, ())
        if frame.recent:
            newest = self.room.newest(frame.recent, since)
            return [Serve(peer, self.room.id, tuple(newest), (), WANTED_RECENT, *told)]
        held: dict[PeerKey, int] = {}
        for head in frame.heads:
            held[PeerKey(head.author)] = max(held.get(PeerKey(head.author), 0), head.seq)
        places, beside = self.room.after(held, MAX_BATCH_RECORDS * MAX_ANSWER_FRAMES, since)
        return [Serve(peer, self.room.id, tuple(places), tuple(beside), WANTED, *told)]

    def fetch(self, peer: PeerKey, frame: Fetch) -> list[Effect]:
        """`peer` asks for records by id: parents on branches that `Want` does not reach."""
        ids = tuple(map(RecordId, frame.ids))
        since = max(frame.since, self.room.begins(peer))
        places, beside = self.room.locate(ids, since)
        acts = self.room.acts_named(ids)
        named: list[Effect] = [Send((peer,), Records(self.room.id, acts, FETCHED))] if acts and not since else []
        if since:  # as part of the roster alone: in a log it may lie before what is for the asker
            named = [Send((peer,), Vouch(self.room.id, piece)) for piece in pieces(acts)]
        hidden = self.room.hidden(ids, since)
        return [*named, Serve(peer, self.room.id, tuple(places), tuple(beside), FETCHED, since, hidden)]

    def served(self, peer: PeerKey, author: PeerKey, seq: int) -> None:
        """Our node has sent `peer` the records of `author` up to `seq`."""
        member = self._members.get(peer)
        if member is not None and author == self._me:
            member.sent = max(member.sent or 0, seq)

    def note_pushed(self, peer: PeerKey, records: tuple[Record, ...], *, over_rate: bool, now: Now) -> None:
        """`peer` pushed records: it holds them. Over its rate, they are pulled later instead of taken now."""
        member = self._members[peer]
        if records:
            newest = max(records, key=lambda record: record.seq)
            before, member.pushed = member.pushed, Head(newest.author, newest.seq, newest.id)
            if before is not None and before.author == newest.author and before.seq < newest.seq:
                member.unheld.pop(RecordId(before.id), None)
            self._note_head(member, member.pushed)
        if over_rate and member.paused <= now.mono:
            pause = max(member.pulled * FLOOD_PULL_DELAY / MAX_BATCH_RECORDS, FLOOD_PULL_LEAST)
            member.paused = now.mono + (min(pause, FLOOD_PULL_DELAY) if member.pulled else FLOOD_PULL_DELAY)

    def judged(self, peer: PeerKey, frame: Records) -> Records:
        """`frame` as it counts: an answer that we did not ask `peer` for is a push."""
        member = self._members[peer]
        if frame.answer == PUSHED:
            return frame
        other = self._asked == peer and frame.answer not in (self._asked_for, FETCHED)
        if other or not member.owes:
            return Records(frame.room, frame.records, PUSHED)
        member.owes -= 1
        return frame

    def learn(self, before: Iterable[Head], *, single: bool) -> list[Placed]:
        """A member said which records are not for us (see `Floor.learn`): nobody is asked for them any more."""
        placed = self.room.learn(before, single=single)
        for member in self._members.values():
            for one in [i for i, head in member.unheld.items() if self.room.floor.hides(head)]:
                del member.unheld[one]
        self._changed = True
        return placed

    def owes(self, peer: PeerKey) -> bool:
        """True while `peer` has been asked for records and has not sent them."""
        member = self._members.get(peer)
        return member is not None and member.owes > 0

    def answered(self, peer: PeerKey, frame: Records, *, progress: int, now: Now) -> list[Effect]:
        """A `Records` frame of `peer` has been placed: `progress` records of it are new. Ask on."""
        member = self._members[peer]
        if frame.answer != PUSHED:
            self._changed = True
            if progress:
                member.passed_over = 0.0
        if frame.answer in (WANTED, WANTED_RECENT) and self._asked == peer:
            self._catching_up += progress
            self._answer_progress += progress
            member.pulled += progress
            if frame.more:
                if progress:
                    self._asked_until = min(now.mono + WANT_SECONDS, self._asked_last)
                return []
            self._asked = None
            full = self._answer_progress >= min(self._asked_claim, MAX_BATCH_RECORDS)
            member.short = 0 if full or frame.answer == WANTED_RECENT else member.short + 1
            idle = self._lacking(member) or (self.room.floor.since and not self.room.floor.told)
            if frame.answer == WANTED and not self._answer_progress and idle:
                member.passed_over = now.mono + PASS_OVER_SECONDS
        return self._plan(now)

    # ------------------------------------------------------------ what we have to say

    def placed(self, placed: Placed, source: PeerKey | None, now: Now) -> list[Effect]:
        """A record has its place: push our own, and tell the others' heads a little later."""
        record = placed.record
        self._changed = True
        for member in self._members.values():
            member.unheld.pop(record.id, None)
        self._dirty.add(record.author)
        if self._tell_at is None and self._members:
            self._tell_at = now.mono + HEADS_DELAY + HEADS_DELAY_A_PEER * len(self._members)
        if source is not None or record.author != self._me:
            return []
        ready = []
        for peer, member in self._members.items():
            if member.sent == record.seq - 1:
                member.sent = record.seq
                if placed.clock >= member.begins:
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
            out += self._heads_to(self.members, self.room.heads(), full=True)
        elif self._tell_at is not None and now.mono >= self._tell_at:
            self._tell_at = None
            out += self._heads_to(self.members, self.room.heads(sorted(self._dirty)), full=False)
            self._dirty.clear()
        if self._asked is not None and now.mono >= self._asked_until:
            self._members[self._asked].passed_over = now.mono + PASS_OVER_SECONDS
            self._members[self._asked].short += 1
            self._asked = None
        self._changed = True
        return [*out, *self._plan(now)]

    # ------------------------------------------------------------ inside

    def _heads_to(self, peers: Iterable[PeerKey], heads: tuple[Head, ...], *, full: bool) -> Iterator[Effect]:
        """Tell our heads, to each member those that are for it."""
        alike: dict[int, list[PeerKey]] = {}
        for peer in peers:
            alike.setdefault(self._members[peer].begins, []).append(peer)
        for begins, some in alike.items():
            theirs = tuple(head for head in heads if self.room.clock_of(head) >= begins) if begins else heads
            if theirs or full:
                yield Send(tuple(some), Heads(self.room.id, theirs[:MAX_HEADS], full))

    def _note_head(self, member: _Member, head: Head) -> None:
        """`member` says that it holds this."""
        known = self.room.holds(head) or self.room.floor.hides(head)
        if self.room.heeds(PeerKey(head.author)) and len(member.unheld) < MAX_CLAIMS and not known:
            member.unheld[RecordId(head.id)] = head
            self._changed = True

    def _past(self, heads: Iterable[tuple[PeerKey, int]]) -> dict[PeerKey, int]:
        """How many records lie past the ends of our logs, by author."""
        out: dict[PeerKey, int] = {}
        for author, seq in heads:
            more = seq - self.room.last_seq(author)
            if more > out.get(author, 0) and self.room.takes(author):
                more = self.room.reach(author, seq) - self.room.last_seq(author)
                if more > out.get(author, 0):
                    out[author] = more
        return out

    def _lacking(self, member: _Member) -> int:
        return sum(self._past((PeerKey(h.author), h.seq) for h in member.unheld.values()).values())

    def _plan(self, now: Now) -> list[Effect]:
        """Ask the member that has most of what we lack, and tell of holes."""
        if not self._changed:
            return []
        self._changed = False
        out: list[Effect] = []
        self._plan_at = None
        if self._asked is None:
            claims = [(peer, member) for peer, member in self._members.items() if member.unheld]
            lacking = {peer: n for peer, member in claims if (n := self._lacking(member))}
            hopeful = [p for p in lacking if self._members[p].passed_over <= now.mono]
            able = [p for p in hopeful if self._members[p].paused <= now.mono]
            if able:
                best = min(able, key=lambda p: (self._members[p].passed_over, self._members[p].short, -lacking[p], p))
                out += self._ask(best, lacking[best], now)
            elif lacking:
                self._plan_at = min(max(self._members[p].passed_over, self._members[p].paused) for p in lacking)
            elif self.room.floor.since and not self.room.floor.told:
                out += self._ask_what_is_hidden(now)
            if not hopeful:
                if self._asked_recent or self._catching_up > CATCH_UP_FROM:
                    out.append(CatchUp(self.room.id, 0, self._catching_up))
                self._catching_up, self._asked_recent = 0, False
        out += self._fetch(now)
        if self._gaps_at is None or now.mono >= self._gaps_at:
            out += self._gaps(now)
        return out

    def _ask_what_is_hidden(self, now: Now) -> Iterator[Effect]:
        """We lack nothing, and do not know which records are not for us: some member does."""
        able = [peer for peer, member in self._members.items() if member.passed_over <= now.mono]
        if able:
            yield from self._ask(min(able), 0, now)

    def _ask(self, peer: PeerKey, lacking: int, now: Now) -> Iterator[Effect]:
        """Want what `peer` has past our logs; the newest of it first when it is much."""
        member = self._members[peer]
        recent = 0
        # Whoever did not give what it said it has is not believed when it says that it has much.
        if lacking > CATCH_UP_FROM and not self._asked_recent and not member.passed_over:
            recent = RECENT
            self._asked_recent = True
            if not self._catching_up:
                yield CatchUp(self.room.id, lacking)
        self._answer_progress = member.pulled = 0
        self._asked_for = WANTED_RECENT if recent else WANTED
        self._asked, self._asked_until = peer, now.mono + WANT_SECONDS
        self._asked_last = now.mono + WANT_SECONDS * MAX_ANSWER_FRAMES
        self._asked_claim = lacking
        member.owes = min(member.owes, MAX_ANSWER_FRAMES) + MAX_ANSWER_FRAMES
        yield Send((peer,), Want(self.room.id, self._last_places(member), recent, self.room.floor.since))

    def _last_places(self, member: _Member) -> tuple[Head, ...]:
        """What `member` need not send: all up to the ends of our logs, and authors that have no place here."""
        ours = [Head(log.author, log.last, log.head_id) for log in self.room.logs.values()]
        refused = [head for head in member.unheld.values() if not self.room.takes(PeerKey(head.author))]
        return tuple([*ours, *refused][:MAX_HEADS])

    def _fetch(self, now: Now) -> Iterator[Effect]:
        """Ask by id for what lies on branches that we lack."""
        lost = self.room.lost_parents()
        for peer, member in self._members.items():
            if not member.unheld and not lost:
                continue
            strange = [
                i
                for i, h in member.unheld.items()
                if h.seq <= self.room.last_seq(PeerKey(h.author)) and self.room.counts(PeerKey(h.author), h.seq, i)
            ]
            missing = dict.fromkeys(i for i in (*strange, *lost) if i not in member.fetched)
            wanted = tuple(i for i in missing if i not in self.room.pending)[:MAX_FETCH_IDS]
            if not wanted:
                continue
            if member.paused > now.mono:
                self._plan_at = min(member.paused, self._plan_at or member.paused)
                continue
            member.fetched.update(wanted)
            member.owes = min(member.owes, MAX_ANSWER_FRAMES) + MAX_ANSWER_FRAMES
            yield Send((peer,), Fetch(self.room.id, wanted, self.room.floor.since))

    def _gaps(self, now: Now) -> Iterator[Effect]:
        """Tell of holes that are still there after a while, and of those that are filled."""
        claimed = [(PeerKey(h.author), h.seq) for m in self._members.values() for h in m.unheld.values()]
        missing = self._past([*self.room.highest_pending().items(), *claimed])
        for author in [a for a in self._gaps_told if a not in missing]:
            del self._gaps_told[author]
            yield Gap(self.room.id, author, 0)
        for author, count in missing.items():
            if author in self._gaps_seen and author not in self._gaps_told:
                self._gaps_told[author] = count
                yield Gap(self.room.id, author, count)
        self._gaps_seen = set(missing)
        self._gaps_at = now.mono + GAP_GRACE if missing else None

    def _delivery(self, before: int, after: int) -> Iterator[Effect]:
        log = self.room.logs.get(self._me)
        if log is None:
            return
        for seq in range(max(before, after - MAX_DELIVERY_NOTICES) + 1, after + 1):
            held = sum(1 for member in self._members.values() if member.mine >= seq)
            yield Delivered(self.room.id, log.id_at(seq), held, len(self._members))

    def delivery(self, record: RecordId) -> tuple[int, int] | None:
        """How many of the linked members are known to hold this record of ours, and how many there are; None: it is
        not ours, or not on our main chain here.
        """
        log = self.room.logs.get(self._me)
        seq = log.find(record) if log is not None else None
        if seq is None:
            return None
        return sum(1 for member in self._members.values() if member.mine >= seq), len(self._members)

    def undelivered(self) -> int:
        """How many of our own records some linked member is not known to hold."""
        mine = self.room.head_seq(self._me)
        return max((mine - member.mine for member in self._members.values()), default=0)
