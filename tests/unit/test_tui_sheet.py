"""A sheet holds a run of a room in order, knows on which line everything stands, and stays within its bounds."""

from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sandpiper.faces.spans import Span, text_of
from sandpiper.faces.tui.transcript import sheet as module
from sandpiper.faces.tui.transcript.entries import Entry, of_note
from sandpiper.faces.tui.transcript.layout import Setting
from sandpiper.faces.tui.transcript.sheet import Block, Sheet
from sandpiper.faces.tui.transcript.sheets import Sheets
from sandpiper.faces.tui.views import Note
from sandpiper.store.reader import Message
from sandpiper.wire.ids import PeerKey, RecordId, RoomId

ROOM = RoomId(b"r" * 32)
ME = PeerKey(b"m" * 32)


def message(number: int, text: str = "x", clock: int | None = None) -> Message:
    record = RecordId(number.to_bytes(32, "big"))
    clock = number if clock is None else clock
    return Message(ROOM, (clock, record), record, ME, "me", number, number, text, False, b"", False, False, False)


def compose(entry: Entry, before: Entry | None) -> Block:
    """As many lines as the text has letters, and one more where the text before ends differently."""
    text = entry.message.text if entry.message is not None else "note"
    other = before is not None and before.message is not None and before.message.text[-1:] != text[-1:]
    return Block(tuple((Span(f"{text}{i}"),) for i in range(len(text) + other)))


def empty() -> Sheet:
    """A sheet of a room in which nothing was said."""
    sheet = Sheet(compose)
    sheet.start_again((), at_start=True, at_end=True)
    return sheet


def check(sheet: Sheet) -> None:
    """Everything derived agrees with the plain truth."""
    places = [entry.place for entry in sheet.entries]
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    blocks = [compose(e, sheet.entries[i - 1] if i else None) for i, e in enumerate(sheet.entries)]
    assert sheet.height == sum(len(block.lines) for block in blocks)
    y = 0
    for i, block in enumerate(blocks):
        assert sheet.top(i) == y
        assert sheet.index(sheet.entries[i].id) == i
        for row, line in enumerate(block.lines):
            found = sheet.line(y)
            assert found is not None
            assert (found[0], found[2]) == (line, row)
            spot = sheet.spot(y)
            assert spot is not None
            assert sheet.find(spot) == y
            y += 1
    assert sheet.line(y) is None
    assert sheet.spot(-1) is None


TEXTS = st.text("ab", min_size=1, max_size=4)
STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "older", "newer", "note", "trim", "back", "again"]), st.integers(1, 60), TEXTS),
    max_size=40,
)


@given(STEPS)
def test_lines_and_places_are_right_after_any_changes(steps):
    sheet, notes = empty(), 0
    for what, number, text in steps:
        if what == "take":
            sheet.take([message(number, text), message(number + 1, text)])
        elif what == "older" and (first := sheet.first_place()) is not None:
            sheet.older([message(n, text) for n in range(max(0, first[0] - 3), first[0])], at_start=number % 2 == 0)
        elif what == "newer" and (last := sheet.last_place()) is not None:
            sheet.newer([message(n, text) for n in range(last[0] + 1, last[0] + 4)], at_end=number % 2 == 0)
        elif what == "note":
            notes += 1
            sheet.add(of_note(Note(None, "event", (), number), notes))
        elif what in ("trim", "back"):
            sheet.trim(keep_end=what == "trim")
        elif what == "again":
            sheet.compose_again()
        check(sheet)


def test_a_changed_message_keeps_its_place_and_a_moved_one_moves():
    sheet = empty()
    sheet.take([message(1, "a"), message(5, "b"), message(9, "a")])
    sheet.take([message(5, "bbb")])
    check(sheet)
    assert [e.message.text for e in sheet.entries if e.message] == ["a", "bbb", "a"]
    sheet.take([message(5, "bbb", clock=20)])
    check(sheet)
    assert [e.message.text for e in sheet.entries if e.message] == ["a", "a", "bbb"]


def test_what_lies_outside_the_run_is_left_to_the_history():
    sheet = Sheet(compose)
    sheet.start_again([message(n) for n in range(10, 20)], at_start=False, at_end=False)
    sheet.take([message(3), message(15, "y"), message(30)])
    assert [e.message.seq for e in sheet.entries if e.message] == list(range(10, 20))
    check(sheet)


def test_a_sheet_never_holds_more_than_its_bound(monkeypatch):
    monkeypatch.setattr(module, "MAX_ENTRIES", 40)
    monkeypatch.setattr(module, "SLACK", 10)
    monkeypatch.setattr(module, "MAX_NOTES", 5)
    sheet = empty()
    for n in range(200):
        sheet.take([message(n)])
        sheet.add(of_note(Note(None, "event", (), n), n))
        sheet.trim()
        assert len(sheet.entries) <= 50
    check(sheet)
    assert (sheet.at_start, sheet.at_end) == (False, True)
    assert sum(entry.note is not None for entry in sheet.entries) <= 5
    sheet.older([message(n) for n in range(100, 150)], at_start=False)
    assert len(sheet.entries) <= 50
    assert (sheet.at_start, sheet.at_end) == (False, False)
    check(sheet)


def test_marks_of_delivery_wait_for_their_message_and_outlive_its_page():
    sheet = Sheet(compose)
    sheet.delivered(message(3).id, 1, 2)
    assert sheet.entries == []
    for _ in range(2):
        sheet.start_again([message(n) for n in range(5)], at_start=True, at_end=True)
        assert [(e.delivered, e.members) for e in sheet.entries] == [(0, 0)] * 3 + [(1, 2), (0, 0)]


def test_nothing_is_put_into_a_sheet_before_its_first_page():
    sheet = Sheet(compose)
    sheet.take([message(3)])
    assert sheet.entries == []
    assert not sheet.filled


def test_the_lines_that_one_reads_are_found_again_after_changes_above_them():
    sheet = empty()
    sheet.take([message(n, "abc") for n in range(10, 30)])
    spot = sheet.spot(20)
    assert spot is not None
    line = sheet.line(20)
    assert line is not None
    sheet.older([message(n, "abc") for n in range(10)], at_start=True)
    sheet.take([message(12, "abcabcabc")])
    y = sheet.find(spot)
    assert y is not None
    assert y > 20
    again = sheet.line(y)
    assert again is not None
    assert again[0] == line[0]


def room_of(*messages: Message) -> tuple[Sheets, Sheet]:
    """The sheets of a screen, and that of the room with these messages."""
    sheets = Sheets(Setting(100, ME, "me", zone=UTC))
    sheet = sheets.open(ROOM)
    sheet.start_again(messages, at_start=True, at_end=True)
    return sheets, sheet


def text(sheet: Sheet) -> str:
    """All lines of a sheet."""
    return "\n".join(text_of(one) for i in range(len(sheet.entries)) for one in sheet.block(i).lines)


def test_a_note_stands_below_all_messages_though_their_clock_is_ahead_and_keeps_its_time():
    sheets, sheet = room_of(message(1), message(2, clock=9_000_000))
    for answer in ("first", "second"):
        sheets.note(ROOM, Note(ROOM, "reply", ((Span(answer),),), 60_000))
    assert [entry.time for entry in sheet.entries] == [1, 2, 60_000, 60_000]
    assert text(sheet).index("first") < text(sheet).index("second")
    sheets.take(ROOM, [message(3, "behind it", clock=9_000_001)])
    assert text(sheet).endswith("behind it")


def test_what_was_deleted_or_changed_is_so_where_it_is_quoted():
    near, far = message(5, "secret near"), message(1, "secret far")
    sheets, sheet = room_of(near, replace(message(8), reply_to=near.id), replace(message(9), reply_to=far.id))
    sheets.fetched(ROOM, [far])
    assert text(sheet).count("secret far") == 1
    assert text(sheet).count("secret near") == 2
    sheets.take(ROOM, [replace(near, text="", retracted=True), replace(far, text="mended", edited=True)])
    assert "secret" not in text(sheet)
    assert "mended" in text(sheet)
    sheets.fetched(ROOM, [far])  # read before it was changed
    assert "secret" not in text(sheet)


def test_nothing_is_quoted_from_another_room():
    other = replace(message(1, "private words"), room=RoomId(b"o" * 32))
    sheets, sheet = room_of(replace(message(9), reply_to=other.id))
    sheets.fetched(ROOM, [other])
    sheets.take(other.room, [replace(other, edited=True)])
    sheet.compose_again()
    assert "private" not in text(sheet)
    assert "an earlier message" in text(sheet)


def test_after_clearing_only_what_is_new_is_put_there_until_older_pages_are_read():
    sheet = empty()
    sheet.take([message(n) for n in range(1, 20)])
    sheet.clear()
    sheet.take([message(5, "changed")])
    assert sheet.entries == []
    sheet.take([message(22), message(6, "changed"), message(21)])
    assert [entry.id for entry in sheet.entries] == [message(21).id, message(22).id]
    sheet.older([message(n) for n in range(10, 21)], at_start=False)
    sheet.take([message(15, "changed"), message(6, "changed")])
    check(sheet)
    assert [entry.time for entry in sheet.entries] == list(range(10, 23))


def test_what_is_not_in_its_place_yet_does_not_count_as_seen_until_it_is_told_again():
    sheets, sheet = room_of(message(1))
    ahead = message(7)
    sheets.take(ROOM, [ahead], frozenset({ahead.id}))
    sheet.start_again([message(1), ahead], at_start=True, at_end=True)
    assert (sheet.settled_place(), sheet.last_place()) == (message(1).place, ahead.place)
    sheets.take(ROOM, [ahead])
    assert sheet.settled_place() == ahead.place
