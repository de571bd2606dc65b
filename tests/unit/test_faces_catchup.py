"""Catching up: what is shown at once, what stays for /history."""

from sandpiper.faces.catchup import TAIL, CatchingUp
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId, RoomId
from sandpiper.wire.records import AnyBody, Record, Text, Topic


def record(time: int, body: AnyBody | None = None) -> Record:
    return Record(
        id=RecordId(time.to_bytes(32, "big")),
        raw=b"",
        room=RoomId(b"r" * 32),
        author=PeerKey(b"a" * 32),
        seq=1,
        prev=NO_RECORD,
        deps=(),
        time=time,
        body=body or Text(f"at {time}"),
    )


def test_older_messages_are_counted_and_newer_ones_shown():
    catching_up = CatchingUp()
    for time in range(90, 100):
        catching_up.preview(record(time))
    assert all(catching_up.hides(record(time)) for time in range(90))
    assert catching_up.hides(record(50, Topic("tides"))), "an old topic is no news"
    assert not catching_up.hides(record(100)), "what was said meanwhile is shown"
    assert catching_up.end() == ([], 90)


def test_without_a_newest_screenful_the_last_ones_are_shown_at_the_end():
    catching_up = CatchingUp()
    for time in range(100):
        assert catching_up.hides(record(time))
    tail, hidden = catching_up.end()
    assert [one.time for one in tail] == list(range(100 - TAIL, 100))
    assert hidden == 100 - TAIL


def test_a_catch_up_that_brought_nothing_says_nothing():
    assert CatchingUp().end() == ([], 0)
