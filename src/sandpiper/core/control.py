"""Who is who in a private room: what a set of control records means. Page: docs/protocol/roster.md.

A pure function of the set: the order of arrival changes nothing. That holds because authority is judged in layers, and
no layer depends on one below it: the owner's records stand by themselves; what admins ruled depends on the owner's;
who is a member depends on both. A record's causes are those that it names in `after`, and all that they name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from sandpiper.core.limits import MAX_ACTS, MAX_PENDING
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.limits import MAX_AFTER
from sandpiper.wire.records import Admit, Control, Genesis, Leave, Record, Remove, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MemberRole = Literal["owner", "admin", "member"]


class Cut(NamedTuple):
    """Where a log ends to count: at this record (0: before its first)."""

    seq: int
    last: RecordId


class Span(NamedTuple):
    """Records of one author from `first` on, as far as no cut comes before them."""

    first: int
    cuts: tuple[Cut, ...]


class Ruling(Struct, frozen=True):
    """What a set of control records comes to: members with their roles, which records of whom count (of the owner:
    all), and who may not be let in.
    """

    owner: PeerKey | None = None
    roles: dict[PeerKey, MemberRole] = {}
    spans: dict[PeerKey, tuple[Span, ...]] = {}
    banned: frozenset[PeerKey] = frozenset()
    welcome: frozenset[PeerKey] = frozenset()
    """Let in, if need be as soon as their log says that they are back."""
    since: dict[PeerKey, int] = {}
    """The order clock from which on the history is for somebody who was ever let in; without entry: all of it."""


class Act(NamedTuple):
    """A control record with its place among others: `past` has bit n for each cause n; causes have smaller numbers."""

    record: Record
    past: int
    depth: int


class _Removal(NamedTuple):
    number: int
    cut: Cut
    ban: bool
    by: MemberRole  # "member": the removed itself, who left


class Acts:
    """The control records of one room, at most `MAX_ACTS` (the owner's may be twice as many: somebody must be able
    to remove whoever filled the table).
    """

    def __init__(self, room: RoomId) -> None:
        self.room = room
        self.all: list[Act] = []
        self._number: dict[RecordId, int] = {}
        self._tips: dict[RecordId, None] = {}
        self._waiting: dict[RecordId, Record] = {}
        self._bans: dict[bytes, int] = {}  # by key, a bit for each
        self._put_out = 0  # a bit for each removal that is more than the end of a ban

    def __contains__(self, record: RecordId) -> bool:
        return record in self._number or record in self._waiting

    @property
    def genesis(self) -> Genesis | None:
        """The room's first record; None: it is not here."""
        body = self.all[0].record.body if self.all else None
        return body if isinstance(body, Genesis) else None

    def find(self, record: RecordId) -> Act | None:
        """The control record of this id, if it is here."""
        number = self._number.get(record)
        return self.all[number] if number is not None else None

    def newest(self) -> tuple[RecordId, ...]:
        """What the next control record names as its causes."""
        return tuple(self._tips)[-MAX_AFTER:]

    def put_out_since(self, after: Iterable[bytes]) -> bool | None:
        """Whether somebody was put out whom somebody that knew `after` (control records, and all their causes) took for
        a member; None: one of these is not here, so it cannot be told.
        """
        known = 0
        for cause in after:
            number = self._number.get(RecordId(cause))
            if number is None:
                return None
            known |= self.all[number].past | 1 << number
        return bool(self._put_out & ~known)

    def add(self, record: Record) -> list[Record]:
        """Take one in, and all that waited for it; causes first. Empty when it is known, waits for a cause, has none,
        or the table is full.
        """
        if record.id in self._number or record.room != self.room:
            return []
        out: list[Record] = []
        ready = [record]
        while ready:
            out += [one for one in ready if self._enter(one)]
            ready = [one for one in self._waiting.values() if not self._missing(one)]
            for one in ready:
                del self._waiting[one.id]
        return out

    def wanted(self) -> set[RecordId]:
        """Causes that others wait for."""
        return {cause for record in self._waiting.values() for cause in _after(record) if cause not in self._number}

    def _missing(self, record: Record) -> bool:
        return any(cause not in self._number for cause in _after(record))

    def _enter(self, record: Record) -> bool:
        causes = _after(record)
        if bytes(record.id) == self.room:
            if self.all:
                return False
        elif not causes or isinstance(record.body, Genesis):
            return False
        elif self._missing(record):
            if len(self._waiting) < MAX_PENDING:
                self._waiting[record.id] = record
            return False
        owners = bool(self.all) and record.author == self.all[0].record.author
        if len(self.all) >= MAX_ACTS * (2 if owners else 1):
            return False
        past = depth = 0
        for cause in causes:
            number = self._number[cause]
            past |= self.all[number].past | 1 << number
            depth = max(depth, self.all[number].depth + 1)
            self._tips.pop(cause, None)
        if isinstance(body := record.body, Remove):
            bit = 1 << len(self.all)
            if body.ban:
                self._bans[body.key] = self._bans.get(body.key, 0) | bit
            if body.ban or not past & self._bans.get(body.key, 0):
                self._put_out |= bit
        self._number[record.id] = len(self.all)
        self._tips[record.id] = None
        self.all.append(Act(record, past, depth))
        return True


def _after(record: Record) -> tuple[RecordId, ...]:
    body = record.body
    return tuple(map(RecordId, body.after)) if isinstance(body, Admit | Role | Remove | Leave) else ()


def is_control(record: Record) -> bool:
    """True for records that a roster is made of."""
    return isinstance(record.body, Control)


class Judge:
    """Works out one ruling. `within(author, seq, record, cut)` says whether a record stands on the branch of its log
    that ends at the cut: who forks a log after being removed backdates nothing.
    """

    def __init__(self, acts: Acts, within: Callable[[PeerKey, int, RecordId, Cut], bool]) -> None:
        self._acts = acts.all
        self._genesis = acts.genesis
        self._within = within
        self._owner = self._acts[0].record.author if self._acts else None
        self._promoted: dict[PeerKey, list[int]] = {}  # by the owner, who lets in by that, too
        self._ended: dict[PeerKey, list[tuple[int, Cut]]] = {}  # an admin's power: by the owner, or because it left
        self._removed: dict[PeerKey, list[_Removal]] = {}
        self._returns: dict[PeerKey, list[int]] = {}  # records that let in their own author
        self._granted: dict[PeerKey, list[int]] = {}
        self._since: dict[int, int] = {}  # of admissions that stand: from which clock on the history is given
        self._entered: dict[PeerKey, list[int]] = {}

    def ruling(self) -> Ruling:
        """The one meaning of the set."""
        if self._owner is None or self._genesis is None:
            return Ruling()
        self._of_owner()
        self._of_admins()
        self._of_members()
        return Ruling(
            self._owner,
            self._roles(),
            self._spans(),
            frozenset(self._banned_now()),
            frozenset(self._welcome()),
            {key: since for key, grants in self._granted.items() if (since := self._least(grants))},
        )

    # ------------------------------------------------------------ layer by layer

    def _of_owner(self) -> None:
        leaves: list[tuple[int, Record]] = []
        for number, (record, _, _) in enumerate(self._acts):
            match record.body:
                case Admit(key=key) if key == record.author:
                    self._returns.setdefault(PeerKey(key), []).append(number)
                case Leave() if record.author != self._owner:
                    leaves.append((number, record))
                case Role(key=key) | Remove(key=key) if record.author != self._owner or key == self._owner:
                    pass
                case Role(key=key, admin=True):
                    self._promoted.setdefault(PeerKey(key), []).append(number)
                case Role(key=key, seq=seq, last=last):
                    self._ended.setdefault(PeerKey(key), []).append((number, Cut(seq, RecordId(last))))
                case Remove(key=key, ban=ban, seq=seq, last=last):
                    cut = Cut(seq, RecordId(last))
                    self._ended.setdefault(PeerKey(key), []).append((number, cut))
                    self._removed.setdefault(PeerKey(key), []).append(_Removal(number, cut, ban, "owner"))
                case _:
                    pass
        for number, record in leaves:
            if self._clear(record, self._last_return(self._returns, record.author, number)):
                cut = Cut(record.seq, record.id)
                self._ended.setdefault(record.author, []).append((number, cut))
        self._leaves = leaves

    def _of_admins(self) -> None:
        ruled = [
            (PeerKey(body.key), _Removal(number, Cut(body.seq, RecordId(body.last)), body.ban, "admin"))
            for number, (record, _, _) in enumerate(self._acts)
            if isinstance(body := record.body, Remove)
            and body.key not in (self._owner, record.author)
            and record.author != self._owner
            and self._rules(number)
            and not self._shielded(PeerKey(body.key), number)
        ]
        for key, removal in ruled:
            self._removed.setdefault(key, []).append(removal)
        left = [
            (record.author, _Removal(number, Cut(record.seq, record.id), False, "member"))
            for number, record in self._leaves
            if self._clear(record, self._last_return(self._returns, record.author, number))
        ]
        for key, removal in left:
            self._removed.setdefault(key, []).append(removal)

    def _of_members(self) -> None:
        for number, (record, _, _) in enumerate(self._acts):
            match record.body:
                case Role(key=key, admin=True) if record.author == self._owner and key != self._owner:
                    self._granted.setdefault(PeerKey(key), []).append(number)
                case Admit(key=key) if key == record.author:
                    if any(self._allows(grant, number) for grant in self._granted.get(record.author, ())):
                        self._entered.setdefault(record.author, []).append(number)
                case Admit(key=key, since=since) if key != self._owner:
                    if self._stands(number) and not self._banned(PeerKey(key), self._acts[number].past):
                        # Nobody gives more of the history than is for them: else a newcomer let in a second self.
                        own = [grant for grant in self._granted.get(record.author, ()) if self._knows(number, grant)]
                        self._since[number] = max(since, self._least(own))
                        self._granted.setdefault(PeerKey(key), []).append(number)
                case _:
                    pass

    # ------------------------------------------------------------ questions

    def _act(self, number: int) -> Act:
        return self._acts[number]

    def _knows(self, number: int, cause: int) -> bool:
        return bool(self._acts[number].past >> cause & 1)

    def _inside(self, record: Record, cut: Cut) -> bool:
        return self._within(record.author, record.seq, record.id, cut)

    def _least(self, grants: list[int]) -> int:
        """From which clock on the history is for somebody with these grants. A role adds nothing to an admission."""
        return min((self._since[grant] for grant in grants if grant in self._since), default=0)

    def _rules(self, number: int) -> bool:
        """An admin when it wrote this."""
        record = self._acts[number].record
        return any(
            self._knows(number, made)
            and all(
                self._knows(made, end) or self._inside(record, cut) for end, cut in self._ended.get(record.author, ())
            )
            for made in self._promoted.get(record.author, ())
        )

    def _shielded(self, key: PeerKey, number: int) -> bool:
        """An admin, or made one by an owner who did not know of this removal: the owner's word goes first."""
        return any(
            not self._knows(made, number)
            and not any(self._knows(end, made) and self._knows(number, end) for end, _ in self._ended.get(key, ()))
            for made in self._promoted.get(key, ())
        )

    def _last_return(self, returns: dict[PeerKey, list[int]], author: PeerKey, number: int) -> int:
        """What the author knew when it came back last before this record; 0: it never did."""
        known = [self._acts[own] for own in returns.get(author, ()) if self._knows(number, own)]
        return max(known, key=lambda act: (act.record.seq, act.record.id)).past if known else 0

    def _clear(self, record: Record, knew: int) -> bool:
        """No removal of its author cuts it off, but such as the author had come back from."""
        return all(
            knew >> one.number & 1 or self._inside(record, one.cut) for one in self._removed.get(record.author, ())
        )

    def _stands(self, number: int) -> bool:
        """A member in good standing when it wrote this."""
        record = self._acts[number].record
        if record.author == self._owner:
            return True
        let_in = any(self._knows(number, grant) for grant in self._granted.get(record.author, ()))
        return let_in and self._clear(record, self._last_return(self._entered, record.author, number))

    def _allows(self, grant: int, back: int) -> bool:
        """This grant was given in spite of every removal that its taker knows."""
        author = self._acts[back].record.author
        return self._knows(back, grant) and all(
            self._spares(grant, one) or not self._knows(back, one.number) for one in self._removed.get(author, ())
        )

    def _spares(self, grant: int, one: _Removal) -> bool:
        """A grant in spite of this removal. Of a leaving, who gives it need not know: it is enough that the one who
        left did not have it then.
        """
        return self._knows(grant, one.number) or (one.by == "member" and not self._knows(one.number, grant))

    def _welcome(self) -> Iterator[PeerKey]:
        for key, grants in self._granted.items():
            if any(all(self._spares(grant, one) for one in self._removed.get(key, ())) for grant in grants):
                yield key

    def _banned(self, key: PeerKey, past: int) -> bool:
        """Banned, for somebody who knows `past`."""
        removals = [one for one in self._removed.get(key, ()) if past >> one.number & 1]
        lifts = [one.number for one in removals if not one.ban and one.by == "owner"]
        lifts += [made for made in self._promoted.get(key, ()) if past >> made & 1]
        by_admin = [one.number for one in removals if not one.ban and one.by == "admin"]
        return any(
            not any(self._knows(lift, one.number) for lift in (*lifts, *(by_admin if one.by == "admin" else ())))
            for one in removals
            if one.ban
        )

    # ------------------------------------------------------------ the outcome

    def _roles(self) -> dict[PeerKey, MemberRole]:
        assert self._owner is not None
        assert self._genesis is not None
        found: list[tuple[bool, int, RecordId, PeerKey, MemberRole]] = []
        for key, grants in self._granted.items():
            holding = [self._acts[grant] for grant in grants if self._holds(key, grant)]
            if holding:
                ends = self._ended.get(key, ())
                made = self._promoted.get(key, ())
                admin = any(all(self._knows(one, end) for end, _ in ends) for one in made)
                first = min((act.depth, act.record.id) for act in holding)
                found.append((not admin, *first, key, "admin" if admin else "member"))
        # Two members may each let in the last one: the same of them stay on every peer.
        kept = sorted(found)[: self._genesis.limit - 1]
        return {self._owner: "owner", **{key: role for _, _, _, key, role in kept}}

    def _holds(self, key: PeerKey, grant: int) -> bool:
        back = self._entered.get(key, ())
        return all(
            self._knows(grant, one.number)
            or (self._spares(grant, one) and any(self._knows(own, one.number) for own in back))
            for one in self._removed.get(key, ())
        )

    def _spans(self) -> dict[PeerKey, tuple[Span, ...]]:
        return {key: tuple(self._spans_of(key)) for key in self._granted}

    def _spans_of(self, key: PeerKey) -> Iterator[Span]:
        backs = sorted((act.record.seq, act.record.id, act.past) for act in map(self._act, self._entered.get(key, ())))
        removals = self._removed.get(key, ())
        for first, _, knew in ((1, b"", 0), *backs):
            yield Span(first, tuple(sorted(one.cut for one in removals if not knew >> one.number & 1)))

    def _banned_now(self) -> Iterator[PeerKey]:
        everything = (1 << len(self._acts)) - 1
        return (key for key in self._removed if self._banned(key, everything))
