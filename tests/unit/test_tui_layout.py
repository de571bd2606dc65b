"""What messages look like as lines: names, times, rules, marks, quotes and code, at any width and for any text."""

from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.faces.spans import Span, columns, line, text_of
from sandpiper.faces.tui.palettes import PALETTES
from sandpiper.faces.tui.themes import Looks
from sandpiper.faces.tui.transcript.entries import Entry, of_message, of_note
from sandpiper.faces.tui.transcript.layout import (
    EDGE,
    MAX_CHIPS,
    MAX_CHOSEN_LINES,
    MAX_LINES,
    STACKED_BELOW,
    Layout,
    Setting,
)
from sandpiper.faces.tui.transcript.prose import parts
from sandpiper.faces.tui.views import Note, Who
from sandpiper.store.reader import Message, Reaction
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.text import clean_text

ROOM = RoomId(b"r" * 32)
ME, BOB, EVE = (PeerKey(letter * 32) for letter in (b"m", b"b", b"e"))
WHO = {ME: Who("ann", 1), BOB: Who("bob", 2, verified=True), EVE: Who("bob~6565", 3)}
NOON = int(datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000


def said(number: int, author: PeerKey, text: str, at: int = NOON, **changes) -> Message:
    record = RecordId(number.to_bytes(32, "big"))
    values = {"action": False, "reply_to": b"", "edited": False, "retracted": False, "plain": False, **changes}
    return Message(ROOM, (at, record), record, author, "", number, at, text, **values)


def laid(messages, *, width=100, known=(), **setting) -> list[list[str]]:
    """The lines of each message, as plain text."""
    layout = layout_of(width, known, **setting)
    out, before = [], None
    for message in messages:
        entry = of_message(message) if isinstance(message, Message) else message
        lines = [text_of(one).rstrip() for one in layout.block(entry, before).lines]
        out.append([one.removeprefix(EDGE) for one in lines] if width >= STACKED_BELOW else lines)
        before = entry
    return out


def layout_of(width=100, known=(), **setting) -> Layout:
    far = {message.id: message for message in known}
    return Layout(Setting(width, ME, "ann", zone=UTC, **setting), WHO.get, lambda room, id: far.get(id))


def test_the_day_comes_first_and_the_time_only_when_it_changes():
    one, two, three = laid([said(1, BOB, "hi"), said(2, ME, "hello"), said(3, BOB, "so", NOON + MINUTE)])
    assert "Saturday 21 November" in one[0]
    assert one[1] == "12:00       bob │ hi"
    assert two == ["            ann │ hello"]
    assert three == ["12:01       bob │ so"]


def test_who_goes_on_talking_is_not_named_again_for_five_minutes():
    _, two, three = laid([said(1, BOB, "a"), said(2, BOB, "b"), said(3, BOB, "c", NOON + 6 * MINUTE)])
    assert two == ["                │ b"]
    assert three == ["12:06       bob │ c"]


def test_namesakes_keep_the_digits_of_their_key_however_narrow():
    for width in (100, 40, 20):
        assert any("~6565" in one for one in laid([said(1, EVE, "x")], width=width)[0])


def test_new_messages_are_below_a_rule_and_ours_are_never_new():
    read = (NOON, RecordId((1).to_bytes(32, "big")))
    messages = [said(1, BOB, "a"), said(2, ME, "b", NOON + 1), said(3, BOB, "c", NOON + 2), said(4, BOB, "d", NOON + 3)]
    rules = [any(" new " in one for one in lines) for lines in laid(messages, read=read)]
    assert rules in ([False, False, True, False], [False, False, False, False])
    messages = [said(1, BOB, "a"), said(3, BOB, "c", NOON + 2), said(4, BOB, "d", NOON + 3)]
    assert [any(" new " in one for one in lines) for lines in laid(messages, read=read)] == [False, True, False]


def test_delivery_is_told_by_marks_and_in_words_when_selected():
    message = said(1, ME, "hello")
    for delivered, members, mark in ((0, 2, "…"), (1, 2, "✓"), (2, 2, "✓✓")):
        entry = Entry(message.place, message.id, message, None, delivered, members)
        assert laid([entry])[0][-1].endswith(f"hello  {mark}")
    entry = Entry(message.place, message.id, message, None, 1, 2)
    assert laid([entry], chosen=message.id)[0][-1].endswith("✓ 1 of 2 have it")
    theirs = said(2, BOB, "hello")
    assert laid([Entry(theirs.place, theirs.id, theirs, None, 2, 2)])[0][-1].endswith("hello")
    assert laid([message])[0][-1].endswith("hello")  # not known


def test_an_answer_quotes_what_it_answers():
    first = said(1, BOB, "Any room left on the Sanderling?")
    answer = said(2, ME, "Always.", reply_to=first.id)
    assert "╭ bob Any room left on the Sanderling?" in laid([answer], known=[first])[0][1]
    assert "╭ an earlier message" in laid([answer])[0][1]
    gone = said(1, BOB, "secret", retracted=True)
    assert "secret" not in str(laid([answer], known=[gone]))


def test_deleted_and_edited_messages_say_so():
    assert "message deleted" in laid([said(1, BOB, "regret", retracted=True)])[0][1]
    assert "regret" not in str(laid([said(1, BOB, "regret", retracted=True)]))
    assert laid([said(1, BOB, "right", edited=True)])[0][1].endswith("right (edited)")


def test_reactions_are_counted_and_ours_stands_out():
    reactions = (Reaction(BOB, "⛵"), Reaction(EVE, "⛵"), Reaction(ME, "👍"))
    block = layout_of().block(of_message(said(1, BOB, "go", reactions=reactions)), None)
    chips = block.lines[-1]
    assert text_of(chips).split() == ["│", "⛵", "2", "👍", "1"]
    assert [span.style for span in chips if span.text.strip() in ("1", "2")] == ["chip", "count"]


def test_a_message_that_names_us_is_marked_and_ours_is_not():
    assert layout_of().block(of_message(said(1, BOB, "@ann come")), None).marked
    assert not layout_of().block(of_message(said(1, ME, "I am ann")), None).marked
    assert not layout_of().block(of_message(said(1, BOB, "annual report")), None).marked


def test_unsigned_messages_of_the_old_dialect_say_so_in_every_line_that_begins_one():
    assert "[plain] hi" in laid([said(1, BOB, "hi", plain=True)])[0][1]


def test_names_stand_above_texts_on_narrow_screens():
    lines = laid([said(1, BOB, "hello there")], width=50)[0]
    assert lines[1:] == ["│ bob  12:00", "│ hello there"]


def test_bare_lines_have_no_gutter():
    assert laid([said(1, BOB, "hello")], bare=True)[0][1:] == ["bob: hello"]


def test_notes_have_a_sign_of_their_own():
    signs: list[tuple[Literal["event", "reply", "trouble"], str]] = [("event", "·"), ("reply", "▸"), ("trouble", "!")]
    for kind, sign in signs:
        note = of_note(Note(None, kind, (line("kenji joined"),), NOON), 1)
        assert laid([note])[0][-1] == f"12:00         {sign} │ kenji joined"


@pytest.mark.parametrize(
    ("text", "styles"),
    [
        ("**06:41** and `x`", [("06:41", "bold"), (" and ", ""), ("x", "code")]),
        ("see https://example.org/a?b=1.", [("see ", ""), ("https://example.org/a?b=1", "link"), (".", "")]),
        ("@ann @bob", [("@ann", "mention"), (" ", ""), ("@bob", "bold")]),
        ("Ann, you", [("Ann", "mention"), (", you", "")]),
        ("a*b*c **x y", [("a*b*c **x y", "")]),
        ("mail@ann.example", [("mail@", ""), ("ann", "mention"), (".example", "")]),
    ],
)
def test_words_with_a_meaning_have_a_style(text, styles):
    (part,) = parts(text, "ann")
    assert [(span.text, span.style) for span in part.spans] == styles


def test_code_between_fences_is_a_block_and_keeps_its_spaces():
    found = parts("look:\n```toml\n[radio]\n  watch  = 1\n```\nso", "ann")
    assert [part.kind for part in found] == ["text", "code", "text"]
    assert found[1].lines == ("[radio]", "  watch  = 1")
    block = laid([said(1, BOB, "```\na   b\n    c\n```")])[0]
    assert block[1].endswith("│  a   b")
    assert block[2].endswith("│      c")


@given(st.text(max_size=300), st.integers(1, 120), st.booleans(), st.sampled_from(["safe", "codes", "joined"]))
def test_no_text_makes_a_line_wider_than_the_screen_or_loses_what_can_be_seen(text, width, bare, emoji):
    text = clean_text(text)
    known = said(2, EVE, text)
    reactions = (Reaction(BOB, text[:16] or "x"),)
    message = said(1, BOB, text, reply_to=known.id, reactions=reactions, edited=True)
    layout = layout_of(width, [known], bare=bare, emoji=emoji)
    for block in (
        layout.block(of_message(message), None),
        layout.block(of_note(Note(None, "reply", (line(Span(text.replace("\n", " "))),), NOON), 1), None),
    ):
        assert block.lines
        looks = Looks(PALETTES["dark"])
        for one in block.lines[block.lead :]:
            assert "\n" not in text_of(one)
            assert width < 12 or columns(text_of(one)) <= width
            for span in one:
                looks.style(span.style)  # every style has a look


def test_a_screen_of_any_width_gets_some_lines():
    for width in range(1, 30):
        assert laid([said(1, BOB, "hello there")], width=width)[0]


@pytest.mark.parametrize("text", ["\n" * 15_000, "x\n" * 7_500, "x" * 15_000, "```\n" + "y\n" * 7_000, "a " * 7_500])
def test_a_message_has_few_lines_however_long_and_more_when_selected(text):
    for width in (30, 100):
        message = said(1, ME, text, edited=True)
        lines = laid([message], width=width)[0]
        assert len(lines) <= MAX_LINES + 3
        assert "more lines (edited)" in lines[-1]
        assert len(lines) < len(laid([message], width=width, chosen=message.id)[0]) <= MAX_CHOSEN_LINES + 3


def test_lines_that_are_left_out_are_counted():
    text = "\n".join(f"n{n}" for n in range(500))
    message = said(1, BOB, text)
    lines = laid([message])[0]
    assert lines[-2].endswith(f"n{MAX_LINES - 2}")
    assert lines[-1].endswith(f"… {500 - (MAX_LINES - 1)} more lines")
    assert laid([message], chosen=message.id)[0][-1].endswith("n499")
    assert laid([said(1, BOB, "\n".join("x" * MAX_LINES))])[0][-1].endswith("x")


def test_of_very_many_reactions_some_are_shown():
    reactions = tuple(Reaction(BOB, f"r{n}") for n in range(16_000))
    lines = laid([said(1, BOB, "x", reactions=reactions)])[0]
    assert len(lines) < 10
    assert lines[-1].endswith(f"+{16_000 - MAX_CHIPS}")
