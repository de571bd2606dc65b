"""A room: the same records in the same order, whatever order they came in; parents first; every bound holds."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from sandpiper.core.events import StoredLog, StoredRoom
from sandpiper.core.limits import FETCH_BACK, MAX_AUTHORS, MAX_BRANCHES, MAX_PENDING
from sandpiper.core.room import Placed, Room
from sandpiper.core.roster import Everyone, Pair
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import direct_room, open_room
from sandpiper.crypto.signing import seal_record
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId
from sandpiper.wire.limits import MAX_BATCH_RECORDS, MAX_DEPS
from sandpiper.wire.records import AnyBody, Head, Profile, Record, Text, Topic

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    import pytest

DEV = open_room("dev")
PEOPLE = [Identity(bytes((n,)) * 32) for n in range(1, 7)]
ALICE, BOB, CAROL = PEOPLE[:3]
ME = PEOPLE[5]


def room(me: Identity = ME) -> Room:
    return Room(DEV, "dev", "open", me.key)


def head(record: Record) -> Head:
    return Head(record.author, record.seq, record.id)


def write(
    who: Identity,
    before: Record | None = None,
    deps: Sequence[Record] = (),
    time: int = 1000,
    body: AnyBody | str = "x",
) -> Record:
    """The next record of `who` after `before`."""
    seq, prev = (before.seq + 1, before.id) if before is not None else (1, NO_RECORD)
    text = Text(body) if isinstance(body, str) else body
    return seal_record(who, DEV, seq, prev, tuple(head(dep) for dep in deps), time, text)


def chain(who: Identity, count: int, *, after: Record | None = None, time: int = 1000, tag: str = "") -> list[Record]:
    out: list[Record] = []
    for n in range(count):
        after = write(who, after, time=time + n, body=f"{tag}{n}")
        out.append(after)
    return out


def add_all(into: Room, records: Iterable[Record]) -> list[Placed]:
    return [placed for record in records for placed in into.add(record)]


def places(of: Room) -> list[tuple[int, RecordId]]:
    """All records of a room in its order."""
    out = []
    for log in of.logs.values():
        out += [(log.clock_at(seq), log.id_at(seq)) for seq in range(1, len(log) + 1)]
        out += [(fork.clock, record) for record, fork in log.forks.items()]
    return sorted(out)


@st.composite
def conversations(draw: st.DrawFn) -> list[Record]:
    """Records of a few authors who see what the others wrote now and then, with wrong clocks; sometimes one of them
    signs a place twice.
    """
    logs: dict[int, list[Record]] = {n: [] for n in range(3)}
    out: list[Record] = []
    for n in range(draw(st.integers(1, 14))):
        author = draw(st.integers(0, 2))
        mine = logs[author]
        forking = len(mine) > 1 and draw(st.integers(0, 9)) == 0
        before = draw(st.sampled_from(mine[:-1])) if forking else (mine[-1] if mine else None)
        others = [log[-1] for other, log in logs.items() if other != author and log]
        deps = draw(st.lists(st.sampled_from(others), unique_by=lambda r: r.id, max_size=2)) if others else []
        choices: tuple[AnyBody, ...] = (Text(f"text {n}"), Topic(f"topic {n}"), Profile(f"nick{n}"))
        body = draw(st.sampled_from(choices))
        record = write(PEOPLE[author], before, deps, draw(st.integers(0, 50)), body)
        mine.append(record)
        out.append(record)
    return out


# ---------------------------------------------------------------- one order


@settings(max_examples=200)
@given(conversations(), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_records_in_the_same_order(
    records: list[Record], shuffle: random.Random
) -> None:
    first, second = room(), room()
    add_all(first, records)
    shuffled = [*records, *records[: len(records) // 2]]
    shuffle.shuffle(shuffled)
    placed = add_all(second, shuffled)
    assert places(first) == places(second)
    assert len(places(second)) == len({record.id for record in records})
    assert len(placed) == len({p.record.id for p in placed}), "something was placed twice"
    assert not second.pending
    assert second.topic == first.topic
    seen: set[bytes] = {NO_RECORD}
    for one in placed:
        assert {one.record.prev, *(dep.id for dep in one.record.deps)} <= seen, "placed before its parents"
        seen.add(one.record.id)


def test_all_permutations_of_a_small_conversation_agree() -> None:
    a1 = write(ALICE, time=500)
    b1 = write(BOB, time=100)
    b2 = write(BOB, b1, [a1], time=50, body=Topic("bob"))
    a2 = write(ALICE, a1, [b1], time=10, body=Topic("alice"))
    c1 = write(CAROL, None, [a2, b2], time=0)
    orders = set()
    for order in itertools.permutations((a1, b1, b2, a2, c1)):
        one = room()
        add_all(one, order)
        orders.add((tuple(places(one)), one.topic, one.next_place(ME.key)))
    assert len(orders) == 1
    assert orders.pop()[1] in {"alice", "bob"}


def test_causes_stand_before_effects_however_wrong_clocks_are() -> None:
    question = write(ALICE, time=10**12)
    answer = write(BOB, None, [question], time=5)
    thanks = write(ALICE, question, [answer], time=10**12)
    one = room()
    clocks = [placed.clock for placed in add_all(one, (question, answer, thanks))]
    assert clocks == [10**12, 10**12 + 1, 10**12 + 2]


def test_ties_are_decided_by_id() -> None:
    records = [write(who, time=7) for who in PEOPLE]
    one = room()
    add_all(one, records)
    assert [i for _, i in places(one)] == sorted(record.id for record in records)


def test_late_is_what_sorts_before_something_that_was_placed_already() -> None:
    one = room()
    early, late = write(ALICE, time=10), write(BOB, time=5)
    assert [p.late for p in add_all(one, (early, late, write(CAROL, time=20)))] == [False, True, False]


# ---------------------------------------------------------------- waiting for parents


def test_a_record_waits_for_all_its_parents_and_then_all_are_placed_in_order() -> None:
    a1, b1 = write(ALICE), write(BOB)
    c1 = write(CAROL, None, [a1, b1])
    c2 = write(CAROL, c1)
    one = room()
    assert one.add(c2) == []
    assert one.add(c1) == []
    assert [p.record.id for p in one.add(a1)] == [a1.id]
    assert set(one.pending) == {c1.id, c2.id}
    assert [p.record.id for p in one.add(b1)] == [b1.id, c1.id, c2.id]
    assert not one.pending
    assert len(one) == 4


def test_what_is_known_or_waits_already_has_no_effect() -> None:
    a1, a2, a3 = chain(ALICE, 3)
    one = room()
    assert [p.record for p in one.add(a1)] == [a1]
    assert one.add(a1) == one.add(a3) == one.add(a3) == []
    assert list(one.pending) == [a3.id]
    assert [p.record for p in one.add(a2)] == [a2, a3]


def test_parents_are_known_by_place_and_id_and_author() -> None:
    a1, a2 = chain(ALICE, 2)
    one = room()
    add_all(one, (a1, a2))
    for lie in (Head(ALICE.key, 2, a1.id), Head(ALICE.key, 1, a2.id), Head(BOB.key, 1, a1.id)):
        record = seal_record(CAROL, DEV, 1, NO_RECORD, (lie,), 5, Text("lies about what it saw"))
        assert one.add(record) == []
        assert not one.holds(lie)
    assert one.holds(head(a2))
    assert one.is_main(head(a2))
    assert not one.is_main(Head(BOB.key, 1, a1.id))


def test_lost_parents_are_those_that_no_catching_up_brings() -> None:
    a = chain(ALICE, 3)
    other = chain(ALICE, 3, tag="other ")
    one = room()
    add_all(one, a[:2])
    one.add(write(BOB, None, [other[1]]))  # at a place that we have, another record
    one.add(write(CAROL, None, [other[2]]))  # at a place that is still to come
    assert one.lost_parents() == [other[1].id]
    assert one.highest_pending() == {ALICE.key: 3, BOB.key: 1, CAROL.key: 1}


def test_what_waits_is_bounded_and_the_oldest_goes_first() -> None:
    one = room()
    orphans = [write(BOB, None, [parent]) for parent in chain(ALICE, 3, tag="never seen ")]
    for n in range(MAX_PENDING + 7):
        fake = Head(ALICE.key, 5, RecordId(n.to_bytes(32, "big")))
        one.add(seal_record(CAROL, DEV, 1, NO_RECORD, (fake,), n, Text("orphan")))
    assert len(one.pending) == MAX_PENDING == len(one._parents) == len(one._waiting)
    for orphan in orphans:
        one.add(orphan)
    assert [r.id for r in one.pending.values()][-3:] == [orphan.id for orphan in orphans]
    assert len(one.pending) == MAX_PENDING
    one.forget_pending()
    assert not one.pending
    assert not one._parents
    assert not one._waiting


def test_one_that_is_given_up_leaves_others_waiting_for_the_same_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandpiper.core.room.MAX_PENDING", 2)
    a1, a2 = chain(ALICE, 2)
    first, second, third = (write(who, None, [a2]) for who in PEOPLE[1:4])
    one = room()
    add_all(one, (first, second, third))
    assert set(one.pending) == {second.id, third.id}
    assert {p.record.id for p in add_all(one, (a1, a2))} == {a1.id, a2.id, second.id, third.id}


def test_only_authors_that_the_room_admits_have_a_place() -> None:
    direct = Room(direct_room(ALICE.key, BOB.key), "", "direct", ALICE.key, BOB.key)
    assert direct.add(write(CAROL)) == []
    assert not direct.takes(CAROL.key)
    assert direct.takes(BOB.key)
    assert len(direct.add(write(BOB))) == 1


def test_a_full_room_takes_no_new_authors_and_goes_on_with_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_AUTHORS == 1000
    monkeypatch.setattr("sandpiper.core.room.MAX_AUTHORS", 2)
    one = room()
    a1, b1 = write(ALICE), write(BOB)
    c1 = write(CAROL, None, [a1])
    assert one.add(c1) == []  # waits, while there is a place
    assert one.add(write(PEOPLE[3], None, [c1])) == []  # waits for one that takes the last place
    assert [p.record.id for p in add_all(one, (a1, b1))] == [a1.id, c1.id]
    assert one.add(write(PEOPLE[4])) == []
    assert len(one.add(write(ALICE, a1))) == 1
    assert len(one.logs) == 2


# ---------------------------------------------------------------- forks


def test_two_records_for_one_place_are_both_kept_and_the_fork_is_said_once() -> None:
    first, second = chain(ALICE, 3, tag="one "), chain(ALICE, 4, tag="other ")
    one = room()
    placed = add_all(one, (*first, *second))
    assert [(p.main, p.forks) for p in placed] == [(True, 0)] * 3 + [(False, 1)] + [(False, 0)] * 3
    assert (one.head_seq(ALICE.key), one.last_seq(ALICE.key), len(one)) == (3, 4, 7)
    assert one.heads() == (head(first[-1]), head(second[-1]))
    assert one.holds(head(second[1]))
    assert not one.is_main(head(second[1]))


def test_forks_are_told_after_all_main_heads() -> None:
    one = room()
    a = write(ALICE)
    add_all(one, [a, *(write(ALICE, a, time=n) for n in range(2, MAX_BRANCHES + 9)), write(BOB)])
    heads = one.heads()
    assert [h.author for h in heads[:2]] == [ALICE.key, BOB.key]
    assert len(heads) == 2 + MAX_BRANCHES
    assert one.heads([BOB.key, CAROL.key]) == (heads[1],)


# ---------------------------------------------------------------- writing


def test_the_next_record_names_the_newest_that_nobody_has_named() -> None:
    one = room()
    records = [write(who, time=100 + n) for n, who in enumerate(PEOPLE[:4])]
    add_all(one, records)
    assert one.next_place(ME.key) == (1, NO_RECORD, tuple(head(r) for r in records))
    mine = write(ME, None, records[:3], time=200)
    one.add(mine)
    assert one.next_place(ME.key) == (2, mine.id, (head(records[3]),))
    assert one.next_place(ALICE.key) == (2, records[0].id, (head(records[3]), head(mine)))
    more = write(PEOPLE[3], records[3], time=300)
    one.add(more)
    assert one.next_place(ME.key)[2] == (head(more),), "names what its author has followed up"


def test_the_next_record_names_at_most_eight_and_the_newest_of_them() -> None:
    one = room()
    many = [write(Identity(bytes((n,)) * 32), time=n) for n in range(1, 21)]
    add_all(one, reversed(many))
    deps = one.next_place(PeerKey(bytes(32)))[2]
    assert deps == tuple(head(record) for record in many[-MAX_DEPS:])


def test_the_topic_is_the_last_in_the_rooms_order_not_the_last_that_came() -> None:
    one = room()
    add_all(one, (write(ALICE, time=50, body=Topic("later")), write(BOB, time=10, body=Topic("earlier"))))
    assert one.topic == "later"


def test_an_author_is_called_what_it_last_said() -> None:
    one = room()
    first = write(ALICE, body=Profile("alice"))
    add_all(one, (first, write(ALICE, first, body=Profile("alicia"))))
    assert one.nicks == {ALICE.key: "alicia"}


# ---------------------------------------------------------------- giving out


@settings(max_examples=100)
@given(conversations(), st.integers(1, 5))
def test_batches_past_ones_heads_bring_everything_with_parents_first(records: list[Record], batch: int) -> None:
    giver, taker = room(), room()
    add_all(giver, records)
    by_place = {(r.author, r.seq, r.id): r for r in records}
    by_id = {r.id: r for r in records}
    for _ in range(3 * len(records)):
        heads = {author: log.last for author, log in taker.logs.items()}
        found, beside = giver.after(heads, batch)
        assert len(found) + len(beside) <= batch
        got = [by_place[author, seq, giver.logs[author].id_at(seq)] for author, seq in found]
        add_all(taker, [*got, *(by_id[i] for i in beside)])
        # What lies on other branches at places that the taker has is fetched by id.
        lost = {i for i in taker.lost_parents() if i in by_id}
        lost |= {
            RecordId(h.id) for h in giver.heads() if not taker.holds(h) and h.seq <= taker.last_seq(PeerKey(h.author))
        }
        fetched, ids = giver.locate(lost)
        add_all(taker, [*(by_id[giver.logs[a].id_at(s)] for a, s in fetched), *(by_id[i] for i in ids)])
    assert places(taker) == places(giver)
    assert not taker.pending


def test_past_ones_heads_comes_in_the_rooms_order_and_no_more_than_asked_for() -> None:
    one = room()
    a, b = chain(ALICE, 5, time=10), chain(BOB, 5, time=12)
    add_all(one, (*a, *b))
    everything, beside = one.after({}, 100)
    assert beside == []
    assert [one.logs[author].id_at(seq) for author, seq in everything] == [i for _, i in places(one)]
    assert one.after({ALICE.key: 3, BOB.key: 5}, 100)[0] == [(ALICE.key, 4), (ALICE.key, 5)]
    assert one.after({}, 3)[0] == everything[:3]
    assert one.after({ALICE.key: 2**40, BOB.key: 2**40, CAROL.key: 1}, 9) == ([], [])


def test_forks_past_ones_heads_come_too() -> None:
    one = room()
    main, other = chain(ALICE, 2, time=10), chain(ALICE, 4, time=10, tag="other ")
    add_all(one, (*main, *other))
    assert one.after({}, 100) == ([(ALICE.key, 1), (ALICE.key, 2)], [r.id for r in other])
    assert one.after({ALICE.key: 2}, 100) == ([], [r.id for r in other[2:]])
    assert one.after({ALICE.key: 2}, 1) == ([], [other[2].id])


def test_the_newest_come_oldest_of_them_first() -> None:
    one = room()
    add_all(one, (*chain(ALICE, 5, time=10), *chain(BOB, 5, time=12)))
    assert [one.logs[author].id_at(seq) for author, seq in one.newest(4)] == [i for _, i in places(one)][-4:]
    assert len(one.newest(100)) == 10
    assert room().newest(5) == []


def test_what_is_fetched_by_id_comes_with_some_that_lie_before_it() -> None:
    one = room()
    main, other = chain(ALICE, 2 * FETCH_BACK), chain(ALICE, 2 * FETCH_BACK, tag="other ")
    add_all(one, (*main, *other))
    found, beside = one.locate([main[-1].id])
    assert found == [(ALICE.key, FETCH_BACK + 1 + n) for n in range(FETCH_BACK)]
    assert beside == []
    found, beside = one.locate([other[-1].id, other[-1].id, RecordId(bytes(32))])
    assert found == []
    assert beside == [record.id for record in other[FETCH_BACK:]]
    found, _ = one.locate([record.id for record in main])
    assert len(found) == 2 * FETCH_BACK <= MAX_BATCH_RECORDS
    assert one.locate([]) == ([], [])


# ---------------------------------------------------------------- restart


@settings(max_examples=100)
@given(conversations())
def test_a_room_from_the_disk_goes_on_as_if_it_had_never_stopped(records: list[Record]) -> None:
    half = len(records) // 2
    lasting = room()
    add_all(lasting, records[:half])
    stored = StoredRoom(
        room=DEV,
        name="dev",
        kind="open",
        peer=None,
        logs=tuple(
            StoredLog(
                author=log.author,
                ids=b"".join(log.id_at(seq) for seq in range(1, len(log) + 1)),
                clocks=tuple(log.clock_at(seq) for seq in range(1, len(log) + 1)),
                # The store gives forks in any order.
                forks=tuple((Head(log.author, f.seq, i), f.clock, f.prev) for i, f in reversed(log.forks.items())),
                nick=lasting.nicks.get(log.author, ""),
            )
            for log in lasting.logs.values()
        ),
        tips=tuple(tip for _, tip in lasting._tips.values()),
        topic=lasting.topic,
        topic_place=lasting._topic_place,
    )
    again = Room.restored(stored, ME.key)
    assert places(again) == places(lasting)
    assert (again.topic, again.nicks, again._last) == (lasting.topic, lasting.nicks, lasting._last)
    assert again.next_place(ME.key) == lasting.next_place(ME.key)
    assert set(again.heads()) == set(lasting.heads())
    for record in records[half:]:
        assert [(p.clock, p.main, p.late, p.forks) for p in again.add(record)] == [
            (p.clock, p.main, p.late, p.forks) for p in lasting.add(record)
        ]
    assert places(again) == places(lasting)


def test_a_topic_that_comes_late_after_a_restart_does_not_take_the_place_of_a_later_one() -> None:
    stored = StoredRoom(
        room=DEV, name="dev", kind="open", peer=None, logs=(), topic="later", topic_place=(50, bytes(32))
    )
    again = Room.restored(stored, ME.key)
    again.add(write(ALICE, time=10, body=Topic("earlier")))
    assert again.topic == "later"
    again.add(write(BOB, time=60, body=Topic("latest")))
    assert again.topic == "latest"


def test_tips_and_logs_that_the_disk_does_not_hold_do_no_harm() -> None:
    stored = StoredRoom(
        room=DEV,
        name="dev",
        kind="open",
        peer=None,
        logs=(StoredLog(ALICE.key, write(ALICE).id, (5,)), StoredLog(BOB.key, b"", ())),
        tips=(Head(ALICE.key, 9, RecordId(bytes(32))),),
    )
    assert len(Room.restored(stored, ME.key)) == 1


# ---------------------------------------------------------------- who may


def test_open_rooms_take_anyone_and_direct_rooms_the_two() -> None:
    assert Everyone().admits(ALICE.key)
    pair = Pair(ALICE.key, BOB.key)
    assert [pair.admits(who.key) for who in (ALICE, BOB, CAROL)] == [True, True, False]
