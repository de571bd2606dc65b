"""Messages and what happens around them, as lines."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.faces.people import path_label
from sandpiper.faces.render import (
    Look,
    Name,
    Quote,
    Shown,
    clock,
    day_rule,
    grouped,
    happened,
    mentions,
    message,
    trouble,
)
from sandpiper.faces.spans import Line, Span, ansi, columns, text_of

TODAY = date(2026, 11, 21)
LOOK = Look(None, TODAY, UTC)
AT = int(datetime(2026, 11, 21, 10, 30, tzinfo=UTC).timestamp() * 1000)
BOB, ALICE = Name("bob", 33), Name("alice", 28)


def shown(text: str = "hi", width: int | None = None, **fields: Any) -> list[str]:
    return plain(message(Shown(author=BOB, time=AT, text=text, **fields), Look(width, TODAY, UTC)))


def plain(lines: list[Line]) -> list[str]:
    return [text_of(one) for one in lines]


def test_a_message_has_its_time_and_author():
    assert shown() == ["10:30 bob: hi"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"room": "#dev"}, "10:30 #dev bob: hi"),
        ({"action": True, "text": "waves"}, "10:30 * bob waves"),
        ({"late": True}, "10:30 bob (late): hi"),
        ({"to": ALICE, "room": "@bob"}, "10:30 bob → you: hi"),
        ({"to": ALICE, "mine": True}, "10:30 you → alice: hi"),
        ({"quote": Quote("alice", "how are you?")}, "10:30 bob: «alice: how are you?» hi"),
        ({"quote": Quote("", "")}, "10:30 bob: «an earlier message» hi"),
        ({"edited": True}, "10:30 bob: hi (edited)"),
        ({"retracted": True, "text": ""}, "10:30 bob: (deleted)"),
        ({"reactions": (("👍", 2), ("🎉", 1))}, "10:30 bob: hi  [👍 2] [🎉 1]"),
        ({"id": "3fa29c"}, "3fa29c 10:30 bob: hi"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_everything_about_a_message_is_said_in_words(fields: dict[str, Any], expected: str):
    fields = {"text": "hi", **fields}
    assert shown(**fields) == [expected]


def test_a_path_is_told_with_its_time_and_the_reason_if_it_is_not_the_nearest():
    assert path_label("lan", 0.0004, "on this network") == "lan 1ms"
    assert path_label("direct", None) == "direct"
    assert path_label("relay", 0.081, "your NAT does it") == "relay 81ms (your NAT does it)"


def test_a_long_quote_is_cut():
    [line] = shown(quote=Quote("alice", "one two three four five six seven eight nine ten"))
    assert line == "10:30 bob: «alice: one two three four five six sev…» hi"


def test_several_lines_are_indented_so_that_none_can_pass_for_another_message():
    assert shown("hi\n10:31 alice: I owe you") == ["10:30 bob: hi", "      10:31 alice: I owe you"]


def test_long_messages_fold_under_their_author():
    assert shown("one two three four five", 22) == ["10:30 bob: one two ", "      three four five"]


@given(st.text(), st.one_of(st.none(), st.integers(30, 100)))
def test_whatever_is_said_only_the_first_line_begins_at_the_margin(text: str, width: int | None):
    first, *rest = shown(text, width)
    assert first.startswith("10:30 bob: ")
    assert all(line.startswith("      ") for line in rest)


def test_other_days_are_named():
    days = [datetime(2026, 11, 20, 9, 5, tzinfo=UTC), datetime(2025, 1, 2, 3, 4, tzinfo=UTC)]
    assert [clock(int(day.timestamp() * 1000), LOOK) for day in days] == ["20 Nov 09:05", "2025-01-02 03:04"]


def test_a_clock_that_is_centuries_off_does_no_harm():
    assert clock(1 << 48, LOOK) == "??:??"


def test_a_day_has_a_rule():
    assert text_of(day_rule(TODAY)) == "── Saturday 21 November 2026 ──"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("alice", True),
        ("hi @Alice!", True),
        ("ALICE, look", True),
        ("malice", False),
        ("alice2", False),
        ("see al.ice", False),
    ],
)
def test_a_mention_is_the_whole_nick(text: str, named: bool):
    assert mentions(text, "alice") is named


def test_a_mention_is_bold_but_not_in_our_own_words():
    for mine, style in ((False, "bold"), (True, "")):
        [line] = message(Shown(author=BOB, time=AT, text="hi alice", me="alice", mine=mine), LOOK)
        assert line[-1] == Span("hi alice", style) or line[-1].text.endswith("hi alice")
        assert ("\x1b[1mhi alice" in ansi(line)) is not mine


def test_a_nick_that_is_no_word_is_no_pattern():
    assert mentions("a.c", "a.c")
    assert not mentions("abc", "a.c")
    assert not mentions("anything", "")


def test_what_happened_has_a_dot_and_keeps_the_colour_of_names():
    [line] = happened(AT, LOOK, BOB.span, " is here")
    assert text_of(line) == "10:30 · bob is here"
    assert Span("bob", "colour 33") in line


def test_a_trouble_says_what_and_what_next():
    [line] = trouble("There is no command /x.", "Did you mean /y?", LOOK)
    assert text_of(line) == "! There is no command /x. Did you mean /y?"


def test_reactions_are_counted_the_most_frequent_first():
    assert grouped({"b": 1, "a": 1, "c": 3}) == (("c", 3), ("a", 1), ("b", 1))


def test_emoji_and_wide_text_fold_by_cells():
    lines = shown("日本語 " * 20, 40)
    assert max(map(columns, lines)) <= 40
    assert len(lines) > 3
