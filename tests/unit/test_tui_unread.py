"""What is unread, and what waits to be told: bounded, whatever comes."""

from hypothesis import given
from hypothesis import strategies as st

from sandpiper.faces.tui.pending import MAX_CHANGED, Pending
from sandpiper.faces.tui.unread import MAX_UNREAD, Unread
from sandpiper.wire.ids import RecordId, RoomId

ROOM, OTHER = RoomId(b"r" * 32), RoomId(b"o" * 32)


def place(n: int) -> tuple[int, RecordId]:
    return n, RecordId(n.to_bytes(32, "big"))


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans())), st.integers(-1, 50))
def test_unread_is_what_lies_past_the_place_that_was_read_in_whatever_order_it_came(
    came: list[tuple[int, bool]], read: int
):
    unread = Unread({})
    mentions = {n for n, mention in came if mention}
    for n, _ in came:
        unread.came(ROOM, place(n), mention=n in mentions)
    unread.read(ROOM, place(read) if read >= 0 else (-1, b""))
    past = {n for n, _ in came if n > read}
    assert unread.counts(ROOM) == (len(past), len(past & mentions))
    assert unread.counts(OTHER) == (0, 0)


def test_what_was_read_in_an_earlier_run_is_not_unread():
    unread = Unread({ROOM: place(5)})
    unread.came(ROOM, place(5), mention=True)
    unread.came(ROOM, place(6), mention=False)
    assert unread.counts(ROOM) == (1, 0)


def test_the_room_that_is_seen_has_nothing_unread_until_one_looks_away():
    unread = Unread({})
    unread.seen = ROOM
    unread.came(ROOM, place(1), mention=True)
    assert unread.counts(ROOM) == (0, 0)
    unread.seen = None
    assert unread.counts(ROOM) == (1, 1)


def test_reading_goes_forward_only_and_is_to_be_saved_once():
    unread = Unread({})
    unread.read(ROOM, place(5))
    unread.read(ROOM, place(3))
    assert unread.unsaved() == [(ROOM, place(5))]
    assert unread.unsaved() == []


def test_counting_stops_where_nobody_counts_any_more():
    unread = Unread({})
    for n in range(MAX_UNREAD * 2):
        unread.came(ROOM, place(n), mention=True)
    assert unread.counts(ROOM) == (MAX_UNREAD, MAX_UNREAD)
    unread.read(ROOM, place(MAX_UNREAD * 2 - 2))
    assert unread.counts(ROOM) == (1, 1)


def test_of_a_flood_the_newest_are_told():
    pending = Pending()
    for n in range(MAX_CHANGED + 10):
        pending.changed(ROOM, place(n)[1], fresh=True)
    changes = pending.take().changes[ROOM]
    assert len(changes.ids) == len(changes.fresh) == MAX_CHANGED
    assert place(9)[1] not in changes.ids
    assert place(MAX_CHANGED + 9)[1] in changes.ids


def test_of_a_long_catch_up_the_newest_are_told_at_its_end_and_what_is_said_meanwhile_at_once():
    pending = Pending()
    pending.hold(ROOM)
    for n in range(MAX_CHANGED * 3):
        pending.changed(ROOM, place(n)[1], history=True)
    assert pending.take().items == ()
    pending.changed(ROOM, RecordId(b"l" * 32), fresh=True)
    assert list(pending.take().changes[ROOM].ids) == [RecordId(b"l" * 32)]
    pending.release(ROOM)
    assert list(pending.take().changes[ROOM].ids) == [place(n)[1] for n in range(MAX_CHANGED * 2, MAX_CHANGED * 3)]
    assert pending.take().items == ()


def test_what_could_not_be_saved_is_to_be_saved_again():
    unread = Unread({})
    unread.read(ROOM, place(5))
    unread.read(OTHER, place(6))
    assert len(unread.unsaved()) == 2
    unread.not_saved([ROOM])
    assert unread.unsaved() == [(ROOM, place(5))]
