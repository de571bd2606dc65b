"""One author's log: a chain by place and by id, and the branches beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.core.limits import MAX_BRANCHES
from sandpiper.core.log import Fork, Log
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId
from sandpiper.wire.records import Head

AUTHOR = PeerKey(b"a" * 32)


def rid(n: int) -> RecordId:
    return RecordId(n.to_bytes(32, "big"))


def log_of(count: int) -> Log:
    log = Log(AUTHOR)
    for n in range(1, count + 1):
        log.append(rid(n), 100 + n)
    return log


def test_an_empty_log_has_no_head() -> None:
    log = Log(AUTHOR)
    assert (len(log), log.last, log.head_id, log.branches()) == (0, 0, NO_RECORD, [])


def test_places_ids_and_clocks_belong_together() -> None:
    log = log_of(3)
    assert (len(log), log.last, log.head_id) == (3, 3, rid(3))
    assert [log.id_at(n) for n in (1, 2, 3)] == [rid(1), rid(2), rid(3)]
    assert [log.clock_at(n) for n in (1, 2, 3)] == [101, 102, 103]
    assert log.clock_of(2, rid(2)) == 102
    assert log.clock_of(2, rid(3)) is None
    assert log.clock_of(4, rid(4)) is None
    assert [log.find(rid(n)) for n in (1, 2, 3, 4)] == [1, 2, 3, None]


def test_bytes_that_lie_across_two_ids_are_not_an_id() -> None:
    log = Log(AUTHOR)
    log.append(RecordId(b"x" * 16 + b"y" * 16), 1)
    log.append(RecordId(b"z" * 16 + b"x" * 16), 2)
    log.append(RecordId(b"y" * 16 + b"z" * 16), 3)
    assert log.find(RecordId(b"y" * 16 + b"z" * 16)) == 3
    assert log.find(RecordId(b"x" * 16 + b"y" * 16)) == 1
    assert log.find(RecordId(b"z" * 16 + b"y" * 16)) is None


def test_a_log_from_the_disk_is_the_log_that_was_kept() -> None:
    log = Log(AUTHOR, rid(1) + rid(2), (7, 9))
    assert (len(log), log.head_id, log.clock_at(1), log.clock_at(2)) == (2, rid(2), 7, 9)


def test_forks_stand_beside_the_chain_and_their_ends_are_told() -> None:
    log = log_of(3)
    log.add_fork(rid(12), Fork(2, 50, rid(1)))
    log.add_fork(rid(13), Fork(3, 51, rid(12)))
    log.add_fork(rid(14), Fork(4, 52, rid(13)))
    log.add_fork(rid(23), Fork(3, 60, rid(12)))
    assert len(log) == 3
    assert log.last == 4
    assert log.clock_of(4, rid(14)) == 52
    assert log.clock_of(3, rid(14)) is None, "the right record at the wrong place"
    assert sorted(log.branches(), key=lambda head: head.seq) == [Head(AUTHOR, 3, rid(23)), Head(AUTHOR, 4, rid(14))]


@pytest.mark.parametrize(("limit", "expected"), [(1, [14]), (2, [13, 14]), (9, [12, 13, 14])])
def test_a_branch_is_given_from_some_way_back_oldest_first(limit: int, expected: list[int]) -> None:
    log = log_of(3)
    for seq in (2, 3, 4):
        log.add_fork(rid(10 + seq), Fork(seq, 50, rid(9 + seq) if seq > 2 else rid(1)))
    assert log.branch(rid(14), limit) == [rid(n) for n in expected]
    assert log.branch(rid(3), limit) == [], "the main chain is no branch"


def test_however_many_branches_there_are_only_the_newest_are_told() -> None:
    log = log_of(1)
    for n in range(5 * MAX_BRANCHES):
        log.add_fork(rid(1000 + n), Fork(2, n, rid(1)))
    assert [head.id for head in log.branches()] == [rid(1000 + 5 * MAX_BRANCHES - 1 - n) for n in range(MAX_BRANCHES)]


@given(st.lists(st.integers(0, 2**40), max_size=50))
def test_clocks_of_any_size_are_kept(clocks: list[int]) -> None:
    log = Log(AUTHOR)
    for n, clock in enumerate(clocks, 1):
        log.append(rid(n), clock)
    assert [log.clock_at(n) for n in range(1, len(clocks) + 1)] == clocks
