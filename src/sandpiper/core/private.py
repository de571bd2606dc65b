"""A private room: a room whose roster is made of its own control records.

What is no longer worth anything (its author was removed before it) stays in the log, where others may have built on
it, but it is not shown, not offered to anybody, and taken only as a cause of something that counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.core.control import Cut, is_control
from sandpiper.core.events import Derived, Judged, MemberChanged, StoredRoom
from sandpiper.core.floor import ALL, Floor, begins, known_policy
from sandpiper.core.limits import MAX_ACTS
from sandpiper.core.room import Placed, Room
from sandpiper.core.roster import Members
from sandpiper.crypto.rooms import NO_SECRET, RoomSecret
from sandpiper.crypto.signing import seal_record
from sandpiper.errors import UsageError
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId, RoomId
from sandpiper.wire.limits import MAX_ROSTER
from sandpiper.wire.records import NO_ROOM, Admit, Control, Genesis, Head, Leave, Record, Remove, Role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sandpiper.core.control import MemberRole
    from sandpiper.core.log import Log
    from sandpiper.crypto.identity import Identity


def begin_room(
    identity: Identity, name: str, salt: bytes, time_ms: int, limit: int = MAX_ROSTER, history: str = ALL
) -> Record:
    """The genesis of a new private room: its id is the room's. `salt` is random; `time_ms` since 1970; `history` is
    what newcomers are given of it (`sandpiper.core.floor.check_policy`).
    """
    return seal_record(identity, NO_ROOM, 1, NO_RECORD, (), time_ms, Genesis(name, salt, history, limit))


class PrivateRoom(Room):
    """All that is known of one private room, without texts."""

    roster: Members

    def __init__(
        self,
        room: RoomId,
        me: PeerKey,
        secret: RoomSecret = NO_SECRET,
        lock: RoomSecret = NO_SECRET,
        relay: str = "",
    ) -> None:
        super().__init__(room, "", "private", me)
        self.roster = Members(room, self.within)
        self.secret = secret
        self.lock = lock
        self.relay = relay
        self._void: dict[PeerKey, frozenset[RecordId]] = {}
        self._enacted: list[Record] = []
        self._moved = False
        self._roles: dict[PeerKey, MemberRole] = {}

    @override
    def restore(self, stored: StoredRoom) -> None:
        super().restore(stored)
        self.floor = Floor(stored.since)
        self.enact(stored.acts)
        self.enacted()
        self.judged()
        self._roles = dict(self.roster.ruling.roles)

    # ------------------------------------------------------------ the roster

    def enter(self, records: Iterable[Record]) -> None:
        """We are let in, with these control records. What we once had of the room goes on where it ended."""
        fresh = not self.roster.acts.all
        self.enact(records)
        if fresh:
            self.floor = Floor(self.begins(self._me))

    def enact(self, records: Iterable[Record]) -> None:
        """Let control records count for the roster, whether the logs that they stand in are here or not."""
        for record in records:
            known = record.id in self.roster.acts
            entered = self.roster.add(record)
            if not known and record.id in self.roster.acts:
                self._enacted.append(record)  # also what waits for a cause: the log does not bring it a second time
            for act in entered:
                self._moved = True
                match act.body:
                    case Genesis(name=name):
                        self.name = name
                    case Admit(key=key, nick=nick):
                        self.nicks.setdefault(PeerKey(key), nick)
                    case _:
                        pass

    def enacted(self) -> list[Record]:
        """Control records that have come since this was asked last."""
        enacted, self._enacted = self._enacted, []
        return enacted

    @property
    def moved(self) -> bool:
        """True when the roster may have changed since `judged` was asked last."""
        return self._moved

    def judged(self) -> list[Judged | MemberChanged]:
        """What has changed with the roster: whose held records do (not) count any more, and who is a member."""
        self._moved = False
        out: list[Judged | MemberChanged] = []
        for author, log in self.logs.items():
            void = frozenset(self._voided(log))
            if void != self._void.get(author, frozenset()):
                self._void[author] = void
                out.append(Judged(self.id, author, void))
        while stale := [one for one in self.pending.values() if not self._allows(one)]:
            for record in stale:
                self._give_up(record)  # nobody sends what it waits for
        before, self._roles = self._roles, dict(self.roster.ruling.roles)
        out += [
            MemberChanged(self.id, key, self._roles.get(key), before.get(key))
            for key in dict.fromkeys((*before, *self._roles))
            if before.get(key) != self._roles.get(key)
        ]
        return out

    def _voided(self, log: Log) -> Iterator[RecordId]:
        author = log.author
        if not self.roster.unlimited(author):
            for seq in range(log.first, len(log) + 1):
                if not self.counts(author, seq, log.id_at(seq)):
                    yield log.id_at(seq)
        if log.forks:
            yield from (i for i, fork in log.forks.items() if not self.counts(author, fork.seq, i))

    def within(self, author: PeerKey, seq: int, record: RecordId, cut: Cut) -> bool:
        """True when the record is the cut's or stands before it on its branch."""
        if seq >= cut.seq:
            return seq == cut.seq and record == cut.last
        log = self.logs.get(author)
        if log is None:
            return True
        branch, top = cut.last, cut.seq
        while (fork := log.forks.get(branch)) is not None:
            if fork.seq == seq:
                return branch == record
            branch, top = fork.prev, fork.seq - 1
        # Below here it is the main chain, or not known yet: then the main chain is what it will be found on.
        held = log.first <= seq <= min(top, len(log))
        return record == log.id_at(seq) if held else record not in log.forks

    @override
    def begins(self, peer: PeerKey) -> int:
        return self.roster.ruling.since.get(peer, 0)

    def admission_begins(self, now_ms: int) -> int:
        """The clock from which on the history is for somebody whom we let in now: by the room's policy, and never more
        than is for ourselves.
        """
        clock = max(now_ms, self._last[0] + 1)  # what the admission's own will be: its deps are the newest records
        given = begins(self.history, clock, self._clock_of_newest)
        return max(given, self.begins(self._me), self.floor.since)

    @property
    def history(self) -> str:
        """What newcomers are given of it (`sandpiper.core.floor.check_policy`)."""
        genesis = self.roster.acts.genesis
        return known_policy(genesis.history) if genesis is not None else ALL

    def _clock_of_newest(self, count: int) -> int:
        """The clock of the oldest of the newest `count` records; 0: there are not so many."""
        places = self.newest(count)
        return self.logs[places[0][0]].clock_at(places[0][1]) if len(places) == count else 0

    def derive(self, author: PeerKey, said: Derived) -> None:
        """Take in what is left of what `author` said."""
        self.topic, self._topic_place = said.topic, said.topic_place
        bodies = (act.record.body for act in self.roster.acts.all)
        admitted = [body.nick for body in bodies if isinstance(body, Admit) and body.key == author]
        self.nicks.pop(author, None)
        if nick := said.nick or next(iter(admitted), ""):
            self.nicks[author] = nick

    # ------------------------------------------------------------ what of it counts

    @override
    def counts(self, author: PeerKey, seq: int, record: RecordId) -> bool:
        return self.roster.counts(author, seq, record)

    @override
    def reach(self, author: PeerKey, seq: int) -> int:
        # Of somebody who was let in again, what says so lies past the cut.
        return seq if author in self.roster.ruling.welcome else self.roster.reach(author, seq)

    @override
    def void(self, author: PeerKey) -> Collection[RecordId]:
        return self._void.get(author, ())

    @override
    def heeds(self, author: PeerKey) -> bool:
        return True  # it may be let in later: what others hold is asked for then

    @override
    def takes(self, author: PeerKey) -> bool:
        return self.roster.takes(author)  # the roster is the bound

    @override
    def _allows(self, record: Record) -> bool:
        return record.id in self._parents or self._counts(record) or self._returns(record)

    @override
    def add(self, record: Record) -> list[Placed]:
        ours = isinstance(record.body, Remove) and record.body.key == self._me and self._counts(record)
        if ours or record.id in self.roster.acts.wanted():
            self.enact((record,))  # a cause of others wherever its log is; or the last that we are sent
        return super().add(record)

    @override
    def acts_named(self, ids: Collection[RecordId]) -> tuple[bytes, ...]:
        acts = self.roster.acts
        return tuple(act.record.raw for i in ids if (act := acts.find(i)) is not None)

    @override
    def lost_parents(self) -> list[RecordId]:
        return [*super().lost_parents(), *self.roster.acts.wanted()]

    def _returns(self, record: Record) -> bool:
        back = isinstance(record.body, Admit) and record.body.key == record.author
        return back and record.author in self.roster.ruling.welcome

    @override
    def _counts(self, record: Record) -> bool:
        return self.roster.counts(record.author, record.seq, record.id)

    @override
    def _is_lost(self, author: PeerKey, seq: int) -> bool:
        return super()._is_lost(author, seq) or self.roster.reach(author, seq) < seq

    @override
    def _settled(self, record: Record, *, main: bool) -> None:
        if is_control(record):
            self.enact((record,))
        if not main:
            self.roster.look_again()
            self._moved = True
        if not self._counts(record):
            self._void[record.author] = self._void.get(record.author, frozenset()) | {record.id}

    def last_counted(self, author: PeerKey) -> Cut:
        """The end of what an author wrote in good standing, as far as it is here, or was told to lie before what is
        for us.
        """
        log = self.logs.get(author)
        if log is not None:
            for seq in range(self.roster.reach(author, len(log)), log.first - 1, -1):
                if self.counts(author, seq, log.id_at(seq)):
                    return Cut(seq, log.id_at(seq))
        before = log.before if log is not None else self.floor.last(author)
        if before is None or not before.seq:
            return Cut(0, NO_RECORD)
        cuts = (Cut(before.seq, RecordId(before.id)), *(cut for cut in self.roster.cuts(author) if cut.seq))
        return min(cuts, key=lambda cut: cut.seq)

    def _check_end_known(self, key: PeerKey) -> None:
        """See that a cut can be drawn: without knowing where a log ends, it would take away all that stands in it."""
        if self.floor.since and not self.floor.told and key not in self.logs and key in self.roster.ruling.spans:
            raise UsageError(
                "It is not known here how much they have said before you came.",
                hint="Try again as soon as another member is linked.",
                code="not_yet",
            )

    @override
    def heads(self, authors: Iterable[PeerKey] | None = None) -> tuple[Head, ...]:
        """The ends of what counts."""
        out: list[Head] = []
        limited: dict[PeerKey, None] = {}
        for head in super().heads(authors):
            if head.id in self.void(PeerKey(head.author)):
                limited[PeerKey(head.author)] = None
            else:
                out.append(head)
        for author in limited:
            for cut in (self.last_counted(author), *self.roster.cuts(author)):
                place = Head(author, cut.seq, cut.last)
                if cut.seq and place not in out and self.holds(place) and self.counts(author, cut.seq, cut.last):
                    out.append(place)
        return tuple(out)

    # ------------------------------------------------------------ what we may write

    def needs_return(self) -> bool:
        """True when we were let in again, and our log must say so before it counts."""
        me = self._me
        return me in self.roster.ruling.welcome and self.roster.reach(me, self.head_seq(me) + 1) <= self.head_seq(me)

    def check_writes(self) -> None:
        """See that we may write here.

        Raises:
            UsageError: we are no member.
        """
        if not self.roster.admits(self._me):
            raise UsageError(
                "You are not a member of this room any more, so nobody would take what you say.",
                hint="Ask a member for a new code.",
                code="no_member",
            )

    def completed(self, body: Control, now_ms: int = 0) -> Control:
        """A control record's body as we may sign it at `now_ms` (since 1970), with what it must name.

        Raises:
            UsageError: the table of docs/protocol/roster.md does not let us do that.
        """
        self.check_writes()
        mine, ruling, after = self.roster.role(self._me), self.roster.ruling, self.roster.acts.newest()
        if len(self.roster.acts.all) >= MAX_ACTS and mine != "owner" and not isinstance(body, Leave):
            raise UsageError("This room's roster has changed too often.", hint="Make a new room.", code="roster_full")
        match body:
            case Genesis():
                raise UsageError("A room begins once.", hint="Make a new room: /join")
            case Leave():
                return Leave(after)
            case Admit(key=key, nick=nick):
                self._check_admits(PeerKey(key))
                return Admit(key, nick, after, self.admission_begins(now_ms))
            case Role(key=key, admin=admin):
                if mine != "owner" or key == ruling.owner:
                    raise UsageError(
                        "Only the owner gives roles, and keeps the own.", hint="/members shows who that is."
                    )
                self._check_member(PeerKey(key))
                if not admin:
                    self._check_end_known(PeerKey(key))
                cut = Cut(0, NO_RECORD) if admin else self.last_counted(PeerKey(key))
                return Role(key, admin, after, *cut)
            case Remove(key=key, ban=ban):
                theirs = self.roster.role(PeerKey(key))
                if key == self._me:
                    raise UsageError("That is you.", hint="Leave the room: /leave")
                if mine != "owner" and (mine != "admin" or theirs in ("owner", "admin")):
                    raise UsageError("Admins remove members, and the owner anybody.", hint="Ask an admin.", code="rank")
                if theirs is None and not ban and key not in ruling.banned:
                    self._check_member(PeerKey(key))
                self._check_end_known(PeerKey(key))
                return Remove(key, ban, after, *self.last_counted(PeerKey(key)))

    def check_banned(self, key: PeerKey, *, banned: bool) -> None:
        """See that a key is banned, or that it is not: by that a removal means the end of a ban or of a membership.

        Raises:
            UsageError: it is the other way.
        """
        if banned and key not in self.roster.ruling.banned:
            raise UsageError("This key is not banned here.", hint="To end somebody's membership: /kick", code="no_ban")
        if not banned and key in self.roster.ruling.banned:
            raise UsageError("This key is banned here already.", hint="To lift that: /unban", code="banned")

    def refusal(self, key: PeerKey) -> str:
        """Why `key` may not be let in: `banned`, `room_full`, or (we are no member) `failed`; empty: it may."""
        try:
            self.check_writes()
            self._check_admits(key)
        except UsageError as exc:
            return {"banned": "banned", "full": "room_full"}.get(exc.code, "failed")
        return ""

    def _check_member(self, key: PeerKey) -> None:
        if self.roster.role(key) is None:
            raise UsageError("Nobody of that name is a member here.", hint="/who shows who is.", code="no_member")

    def _check_admits(self, key: PeerKey) -> None:
        genesis = self.roster.acts.genesis
        if key in self.roster.ruling.banned:
            raise UsageError(
                "This key is banned here.", hint="Whoever banned it, or the owner, can lift that.", code="banned"
            )
        if genesis is None or (not self.roster.admits(key) and len(self.roster.ruling.roles) >= genesis.limit):
            raise UsageError("The room is full.", hint="Somebody must leave it first.", code="full")


def restored_room(stored: StoredRoom, me: PeerKey) -> Room:
    """The room as the disk has it, of the kind that it was when it was first joined: without its control records, a
    private room admits nobody.
    """
    if stored.kind != "private":
        return Room.restored(stored, me)
    room = PrivateRoom(stored.room, me, stored.secret, stored.lock, stored.relay)
    room.restore(stored)
    return room
