"""Rosters of private rooms: one outcome of one set of records, in any order; who may do what; nothing backdated."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandpiper.core.control import Cut, Ruling
from sandpiper.core.private import PrivateRoom, begin_room
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.signing import seal_record
from sandpiper.errors import UsageError
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId, RoomId
from sandpiper.wire.records import Admit, AnyBody, Control, Head, Leave, Record, Remove, Role, Text

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

OWNER, ANN, BEN, CAT, DAN = (Identity(bytes((n,)) * 32) for n in range(1, 6))
PEOPLE = (OWNER, ANN, BEN, CAT, DAN)
NAMES = {who.key: name for who, name in zip(PEOPLE, ("owner", "ann", "ben", "cat", "dan"), strict=True)}


class Desk:
    """One person's copy of the room. `write` signs what it is told to, allowed or not."""

    def __init__(self, who: Identity, genesis: Record, *, time: int = 1000) -> None:
        self.who = who
        self.time = time
        self.room = PrivateRoom(genesis.room, who.key)
        self.known: dict[RecordId, Record] = {}
        self.take([genesis])

    def take(self, records: Iterable[Record]) -> None:
        for record in records:
            self.known[record.id] = record
        self.room.enact(record for record in records if isinstance(record.body, Control))
        for record in records:
            self.room.add(record)
        self.room.judged()

    def meet(self, other: Desk) -> None:
        mine, theirs = list(self.known.values()), list(other.known.values())
        self.take(theirs)
        other.take(mine)

    def write(self, body: AnyBody) -> Record:
        self.time += 1
        seq, prev, deps = self.room.next_place(self.who.key)
        record = seal_record(self.who, self.room.id, seq, prev, deps, self.time, body)
        if isinstance(body, Control):
            self.room.enact([record])
        self.known[record.id] = record
        # Hostile or not: its own log goes on, also when nobody takes it any more.
        self.room._parents[record.id] = Head(record.author, record.seq, record.id)
        self.room.add(record)
        self.room._parents.pop(record.id, None)
        self.room.judged()
        return record

    def say(self, text: str) -> Record:
        return self.write(Text(text))

    def rule(self, body: Control) -> Record:
        """As our own engine would."""
        return self.write(self.room.completed(body))

    def admit(self, other: Desk) -> Record:
        record = self.rule(Admit(other.who.key, NAMES[other.who.key]))
        self.meet(other)
        if other.room.needs_return():
            other.write(Admit(other.who.key, "back", other.room.roster.acts.newest()))
            self.meet(other)
        return record

    @property
    def roles(self) -> dict[str, str]:
        return {NAMES[key]: role for key, role in self.room.roster.ruling.roles.items()}

    @property
    def texts(self) -> set[str]:
        return {one.body.text for one in self.counted() if isinstance(one.body, Text)}

    def counted(self) -> list[Record]:
        return [
            record
            for record in self.known.values()
            if self.room.holds(Head(record.author, record.seq, record.id))
            and self.room.counts(record.author, record.seq, record.id)
        ]


def desks(*people: Identity, admins: Sequence[Identity] = ()) -> list[Desk]:
    """A room of the owner, in which these are members (or admins), and everybody knows of everybody."""
    genesis = begin_room(OWNER, "birds", bytes(16), 1000)
    out = [Desk(who, genesis, time=1000 + 100 * n) for n, who in enumerate((OWNER, *people))]
    for other in out[1:]:
        out[0].admit(other)
    for who in admins:
        out[0].rule(Role(who.key, True))
    all_meet(out)
    return out


def all_meet(all_: Sequence[Desk]) -> None:
    for _ in range(2):
        for one, other in itertools.combinations(all_, 2):
            one.meet(other)


def agree(all_: Sequence[Desk]) -> dict[str, str]:
    """Everybody meets; all have the same roster and the same records that count, in the same order."""
    all_meet(all_)
    first = all_[0]
    for other in all_[1:]:
        assert other.room.roster.ruling == first.room.roster.ruling
        assert counted_places(other.room) == counted_places(first.room)
    return first.roles


def counted_places(room: PrivateRoom) -> list[tuple[int, RecordId]]:
    out = []
    for author, log in room.logs.items():
        held = [(seq, log.id_at(seq), log.clock_at(seq)) for seq in range(1, len(log) + 1)]
        held += [(fork.seq, record, fork.clock) for record, fork in log.forks.items()]
        out += [(clock, record) for seq, record, clock in held if room.counts(author, seq, record)]
    return sorted(out)


# ---------------------------------------------------------------- who may do what


def test_members_let_others_in_and_admins_put_members_out() -> None:
    owner, ann, ben = desks(ANN, BEN, admins=[ANN])
    cat = Desk(CAT, next(iter(owner.known.values())))
    ben.admit(cat)
    assert agree([owner, ann, ben, cat]) == {"owner": "owner", "ann": "admin", "ben": "member", "cat": "member"}
    ann.rule(Remove(CAT.key, False))
    assert "cat" not in agree([owner, ann, ben])


@pytest.mark.parametrize(
    ("who", "body"),
    [
        (ANN, Remove(OWNER.key, False)),
        (ANN, Remove(BEN.key, False)),  # another admin
        (ANN, Role(CAT.key, True)),
        (CAT, Remove(DAN.key, True)),
        (CAT, Role(CAT.key, True)),
        (OWNER, Role(OWNER.key, False)),
        (OWNER, Remove(OWNER.key, False)),
    ],
)
def test_what_the_table_forbids_is_refused_here_and_counts_for_nothing_from_others(
    who: Identity, body: Role | Remove
) -> None:
    all_ = desks(ANN, BEN, CAT, DAN, admins=[ANN, BEN])
    before = agree(all_)
    desk = next(desk for desk in all_ if desk.who is who)
    with pytest.raises(UsageError):
        desk.room.completed(body)
    after = desk.room.roster.acts.newest()
    desk.write(Role(body.key, body.admin, after) if isinstance(body, Role) else Remove(body.key, body.ban, after))
    assert agree(all_) == before


def test_a_stranger_rules_nothing_and_says_nothing() -> None:
    owner, ann = desks(ANN)
    dan = Desk(DAN, next(iter(owner.known.values())))
    owner.meet(dan)
    after = dan.room.roster.acts.newest()
    for body in (Admit(DAN.key, "dan", after), Admit(CAT.key, "cat", after), Remove(ANN.key, True, after), Text("hi")):
        dan.write(body)
    owner.take(list(dan.known.values()))
    assert owner.roles == {"owner": "owner", "ann": "member"}
    assert owner.texts == set()
    assert ann.roles == owner.roles


# ---------------------------------------------------------------- at the same moment


def test_removal_wins_over_admission_at_the_same_moment() -> None:
    owner, ann, ben, cat = desks(ANN, BEN, CAT)
    cat.rule(Leave())
    all_meet([owner, ann, ben])
    all_meet([owner, cat])
    all_meet([owner, ann, ben])
    owner.rule(Remove(CAT.key, True))
    ben.rule(Admit(CAT.key, "cat"))
    assert agree([owner, ann, ben]) == {"owner": "owner", "ann": "member", "ben": "member"}


def test_of_two_admins_who_remove_each_other_neither_goes_and_the_owner_decides() -> None:
    owner, ann, ben = desks(ANN, BEN, admins=[ANN, BEN])
    for one, other in ((ann, BEN), (ben, ANN)):
        one.write(Remove(other.key, False, one.room.roster.acts.newest(), *one.room.last_counted(other.key)))
    assert agree([owner, ann, ben]) == {"owner": "owner", "ann": "admin", "ben": "admin"}
    owner.rule(Remove(BEN.key, False))
    assert agree([owner, ann, ben]) == {"owner": "owner", "ann": "admin"}


def test_the_owner_wins_over_an_admin_who_removes_whom_the_owner_makes_an_admin() -> None:
    owner, ann, ben = desks(ANN, BEN, admins=[ANN])
    owner.rule(Role(BEN.key, True))
    ann.rule(Remove(BEN.key, True))
    ben.say("still here")
    assert agree([owner, ann, ben]) == {"owner": "owner", "ann": "admin", "ben": "admin"}
    assert "still here" in owner.texts


def test_what_a_removed_admin_ruled_after_the_cut_counts_for_nothing() -> None:
    owner, ann, ben, cat = desks(ANN, BEN, CAT, admins=[ANN])
    ann.rule(Remove(BEN.key, False))  # the owner has this one when it removes ann
    owner.meet(ann)
    owner.rule(Remove(ANN.key, False))
    ann.rule(Remove(CAT.key, False))
    ann.rule(Admit(DAN.key, "dan"))
    assert agree([owner, ann, cat, ben]) == {"owner": "owner", "cat": "member"}


def test_a_demoted_admin_rules_no_more_and_stays_a_member() -> None:
    owner, ann, ben = desks(ANN, BEN, admins=[ANN])
    owner.rule(Role(ANN.key, False))
    ann.rule(Remove(BEN.key, False))  # it does not know yet, or says so
    ann.say("what?")
    assert agree([owner, ann, ben]) == {"owner": "owner", "ann": "member", "ben": "member"}
    assert "what?" in ben.texts


def test_whom_a_removed_member_let_in_after_the_cut_is_no_member_and_neither_is_whom_they_let_in() -> None:
    owner, ann, ben = desks(ANN, BEN)
    cat, dan = (Desk(who, next(iter(owner.known.values()))) for who in (CAT, DAN))
    owner.rule(Remove(BEN.key, False))
    ben.admit(cat)
    cat.admit(dan)
    dan.say("who let me in?")
    ben.admit(dan)
    assert agree([owner, ann, ben, cat, dan]) == {"owner": "owner", "ann": "member"}
    assert "who let me in?" not in ann.texts


# ---------------------------------------------------------------- cuts


def test_what_was_said_up_to_the_cut_stays_and_nothing_after_it_counts() -> None:
    owner, ann, ben = desks(ANN, BEN)
    ben.say("before")
    owner.meet(ben)
    ben.say("at the same moment")
    ann.meet(ben)
    ann.say("answer")
    assert "at the same moment" in ann.texts
    owner.rule(Remove(BEN.key, False))
    agree([owner, ann, ben])
    for desk in (owner, ann, ben):
        assert desk.texts == {"before", "answer"}


def test_a_removed_member_backdates_nothing_by_forking_its_log_before_the_cut() -> None:
    owner, ann, ben = desks(ANN, BEN, admins=[BEN])
    first = ben.say("one")
    ben.say("two")
    agree([owner, ann, ben])
    owner.rule(Remove(BEN.key, False))
    after = ben.room.roster.acts.newest()
    agree([owner, ann, ben])
    forged = seal_record(BEN, first.room, first.seq + 1, first.id, (), 1, Text("as if it had been before"))
    ruled = seal_record(BEN, first.room, first.seq + 1, first.id, (), 1, Remove(ANN.key, True, after))
    for desk in (owner, ann):
        desk.take([forged, ruled])
        assert desk.texts == {"one", "two"}
        assert desk.roles == {"owner": "owner", "ann": "member"}


@pytest.mark.parametrize("named", [0, 1])
def test_of_a_forked_log_the_branch_that_the_removal_names_counts_at_everybody(named: int) -> None:
    owner, ann, ben = desks(ANN, BEN)
    start = ben.say("one")
    agree([owner, ann, ben])
    branches = []
    for n in range(2):
        one = seal_record(BEN, start.room, start.seq + 1, start.id, (), 5000 + n, Text(f"branch {n}"))
        two = seal_record(BEN, start.room, start.seq + 2, one.id, (), 6000 + n, Text(f"branch {n} on"))
        branches.append([one, two])
    owner.take(branches[0])
    ann.take(branches[1])
    end = branches[named][1]
    owner.write(Remove(BEN.key, False, owner.room.roster.acts.newest(), end.seq, end.id))
    for desk in (owner, ann):
        desk.take([*branches[0], *branches[1]])
    agree([owner, ann])
    assert owner.texts == ann.texts == {"one", f"branch {named}", f"branch {named} on"}


def test_what_was_ruled_on_the_other_branch_falls_when_the_branch_that_the_removal_names_arrives() -> None:
    owner, ann, ben, cat = desks(ANN, BEN, CAT, admins=[BEN])
    start = ben.say("one")
    all_ = [owner, ann, ben, cat]
    agree(all_)
    after = ann.room.roster.acts.newest()
    ruled = seal_record(BEN, start.room, start.seq + 1, start.id, (), 5000, Remove(CAT.key, False, after))
    said = seal_record(BEN, start.room, start.seq + 1, start.id, (), 5001, Text("the other branch"))
    owner.take([said])
    removal = owner.rule(Remove(BEN.key, False))
    ann.take([ruled, removal])
    ann.take([said])
    assert ann.roles == {"owner": "owner", "ann": "member", "cat": "member"}
    owner.take([ruled])
    assert owner.roles == ann.roles


# ---------------------------------------------------------------- coming back


def test_who_was_kicked_can_be_let_in_again_and_what_it_said_between_does_not_count() -> None:
    owner, ann, ben = desks(ANN, BEN)
    ben.say("before")
    agree([owner, ann, ben])
    owner.rule(Remove(BEN.key, False))
    ben.say("between")
    assert "ben" not in agree([owner, ann, ben])
    ann.admit(ben)
    ben.say("after")
    assert agree([owner, ann, ben])["ben"] == "member"
    for desk in (owner, ann, ben):
        assert desk.texts == {"before", "after"}


def test_a_kick_does_not_end_a_later_membership_and_a_second_one_does() -> None:
    owner, ann, ben = desks(ANN, BEN, admins=[ANN])
    for _ in range(3):
        ann.rule(Remove(BEN.key, False))
        assert "ben" not in agree([owner, ann, ben])
        owner.admit(ben)
        assert agree([owner, ann, ben])["ben"] == "member"


def test_a_ban_refuses_the_key_until_it_is_lifted() -> None:
    owner, ann, ben = desks(ANN, BEN, admins=[ANN])
    owner.rule(Remove(BEN.key, True))
    agree([owner, ann, ben])
    with pytest.raises(UsageError, match="banned"):
        ann.room.completed(Admit(BEN.key, "ben"))
    ann.write(Admit(BEN.key, "ben", ann.room.roster.acts.newest()))
    assert "ben" not in agree([owner, ann, ben])
    ann.rule(Remove(BEN.key, False))  # an admin cannot lift what the owner said
    assert BEN.key in ann.room.roster.ruling.banned
    agree([owner, ann, ben])
    owner.rule(Remove(BEN.key, False))
    agree([owner, ann, ben])
    assert not owner.room.roster.ruling.banned
    ann.admit(ben)
    assert agree([owner, ann, ben])["ben"] == "member"


def test_who_left_may_come_back_by_any_member_also_by_one_who_does_not_know_that_it_left() -> None:
    owner, ann, ben = desks(ANN, BEN)
    ben.rule(Leave())
    assert owner.roles["ben"] == "member"
    ann.admit(ben)
    ben.say("back")
    assert agree([owner, ann, ben])["ben"] == "member"
    assert "back" in owner.texts


def test_who_left_does_not_come_back_without_being_let_in_again() -> None:
    owner, ann, ben = desks(ANN, BEN)
    ben.rule(Leave())
    assert not ben.room.needs_return()
    ben.write(Admit(BEN.key, "back", ben.room.roster.acts.newest()))
    ben.say("back")
    assert "ben" not in agree([owner, ann, ben])
    assert "back" not in owner.texts


def test_a_room_takes_no_more_than_its_limit_and_the_same_ones_on_every_peer() -> None:
    genesis = begin_room(OWNER, "birds", bytes(16), 1000, limit=3)
    owner, ann, *others = all_ = [Desk(who, genesis, time=1000 * n) for n, who in enumerate(PEOPLE, 1)]
    owner.admit(ann)
    all_meet([owner, ann])
    owner.rule(Admit(BEN.key, "ben"))
    ann.rule(Admit(CAT.key, "cat"))
    roles = agree([owner, ann, *others])
    assert len(roles) == 3
    with pytest.raises(UsageError, match="full"):
        owner.room.completed(Admit(DAN.key, "dan"))
    assert all_


# ---------------------------------------------------------------- any order


@st.composite
def quarrels(draw: st.DrawFn) -> tuple[list[Record], list[dict[str, str]]]:
    """What five people do to each other while they meet now and then, rightly or wrongly; all of their records."""
    all_ = desks(ANN, BEN, CAT, admins=[ANN, BEN])
    all_.append(Desk(DAN, next(iter(all_[0].known.values()))))
    people = st.integers(0, len(all_) - 1)
    for n in range(draw(st.integers(1, 12))):
        desk, other = all_[draw(people)], all_[draw(people)]
        key, after = other.who.key, desk.room.roster.acts.newest()
        cut = desk.room.last_counted(key) if draw(st.booleans()) else Cut(0, NO_RECORD)
        match draw(st.sampled_from(("meet", "meet", "say", "admit", "back", "role", "remove", "remove", "leave"))):
            case "meet":
                desk.meet(other)
            case "say":
                desk.say(f"text {n}")
            case "admit":
                desk.write(Admit(key, "x", after))
            case "back":
                desk.write(Admit(desk.who.key, "back", after))
            case "role":
                desk.write(Role(key, draw(st.booleans()), after, *cut))
            case "remove":
                desk.write(Remove(key, draw(st.booleans()), after, *cut))
            case _:
                desk.write(Leave(after))
    all_meet(all_)
    known = {record.id: record for desk in all_ for record in desk.known.values()}
    return list(known.values()), [desk.roles for desk in all_]


def told(records: Sequence[Record]) -> list[str]:
    """What happened, for the report of a failure."""
    number = {record.id: n for n, record in enumerate(records)}
    return [
        f"{n}: {NAMES[r.author]} {r.seq} {type(r.body).__name__} {NAMES.get(PeerKey(getattr(r.body, 'key', b'')), '')}"
        f" cut {getattr(r.body, 'seq', '')} deps {[number[RecordId(dep.id)] for dep in r.deps]}"
        f" after {[number[i] for i in getattr(r.body, 'after', ())]}"
        for n, r in enumerate(records)
    ]


def copy_of(records: Sequence[Record], genesis: RoomId) -> PrivateRoom:
    """A newcomer's room, given these one by one until nothing more finds a place."""
    room = PrivateRoom(genesis, PeerKey(bytes(32)))
    room.enact(record for record in records if isinstance(record.body, Control))
    for _ in range(len(records)):
        before = len(room), len(room.pending)
        for record in records:
            room.add(record)
            room.judged()
        if (len(room), len(room.pending)) == before:
            break
    return room


@settings(max_examples=150, deadline=None)
@given(quarrels(), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_one_roster_and_one_set_of_records(
    quarrel: tuple[list[Record], list[dict[str, str]]], shuffle: random.Random
) -> None:
    records, roles = quarrel
    outcomes: list[tuple[Ruling, list[tuple[int, RecordId]]]] = []
    for _ in range(4):
        room = copy_of(records, RoomId(records[0].room))
        outcomes.append((room.roster.ruling, counted_places(room)))
        shuffle.shuffle(records)
    for ruling, places in outcomes[1:]:
        assert ruling == outcomes[0][0]
        assert places == outcomes[0][1], "\n".join(told(records))
    assert all(one == roles[0] for one in roles), "the quarrellers themselves do not agree"
    ruling = outcomes[0][0]
    assert ruling.roles[OWNER.key] == "owner"
    assert not ruling.banned & set(ruling.roles)


def test_all_permutations_of_acts_at_the_same_moment_come_to_the_same() -> None:
    all_ = desks(ANN, BEN, CAT, admins=[ANN])
    known = {record.id for record in all_[0].known.values()}
    owner, ann, ben, cat = all_
    owner.rule(Remove(BEN.key, True))
    ann.rule(Remove(CAT.key, False))
    ben.rule(Admit(DAN.key, "dan"))
    cat.rule(Leave())
    ann.say("said")
    everything = {record.id: record for desk in all_ for record in desk.known.values()}
    common = [record for record in everything.values() if record.id in known]
    new = [record for record in everything.values() if record.id not in known]
    assert len(new) == 5
    outcomes = []
    for order in itertools.permutations(new):
        room = copy_of(common, common[0].room)
        for record in (*order, *order):
            room.add(record)
            room.judged()
        outcomes.append((room.roster.ruling, counted_places(room)))
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert {NAMES[key] for key in outcomes[0][0].roles} == {"owner", "ann"}
