"""Reading and exporting a history: times as people write them, and formats that keep text what it is."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.errors import UsageError
from sandpiper.faces.archive import Said, parse_time
from sandpiper.faces.export import format_for, lines_of
from sandpiper.faces.nearby import ago
from sandpiper.store.reader import Message
from sandpiper.wire.ids import PeerKey, RecordId, RoomId

NOW = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)


def ms(*when: int, zone: timezone = UTC) -> int:
    return int(datetime(*when, tzinfo=zone).timestamp() * 1000)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("30m", ms(2026, 11, 21, 10, 0)),
        ("2h", ms(2026, 11, 21, 8, 30)),
        ("3d", ms(2026, 11, 18, 10, 30)),
        ("1W", ms(2026, 11, 14, 10, 30)),
        ("today", ms(2026, 11, 21)),
        ("yesterday", ms(2026, 11, 20)),
        ("2026-11-20T09:05:00Z", ms(2026, 11, 20, 9, 5)),
        ("2026-11-20T09:05+01:00", ms(2026, 11, 20, 8, 5)),
        ("999999w", 0),
    ],
)
def test_times_as_people_write_them(text: str, when: int):
    assert parse_time(text, NOW) == when


def test_a_date_alone_is_local():
    assert parse_time("2026-11-20") == int(datetime(2026, 11, 20).astimezone().timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "tea time", "2h30", "-1h", "2026-13-01", "h"])
def test_what_is_no_time_is_refused_with_examples(text: str):
    with pytest.raises(UsageError, match="is not a time") as caught:
        parse_time(text, NOW)
    assert "2h" in caught.value.hint


def said(text: str, number: int = 1, **fields: object) -> Said:
    values = {
        "room": RoomId(b"r" * 32),
        "place": (number, b""),
        "id": RecordId(number.to_bytes(32, "big")),
        "author": PeerKey(b"a" * 32),
        "nick": "alice",
        "seq": number,
        "time": ms(2026, 11, 21, 10, number),
        "text": text,
        "action": False,
        "reply_to": b"",
        "edited": False,
        "retracted": False,
        "plain": False,
    }
    message = Message(**{**values, **fields})  # type: ignore[arg-type]
    return Said(message, "#general", "alice", mine=False, reactions=(("👍", 2),) if number == 2 else ())


ALL = [
    said("hello"),
    said("two\nlines", 2),
    said("waves", 3, action=True),
    said("", 4, retracted=True),
    said("new", 5, edited=True),
    Said(said("elsewhere", 6).message, "@bob", "alice", mine=True, reactions=()),
]


def test_text_has_one_head_a_room_and_indents_what_continues():
    assert "".join(lines_of(ALL, "text", UTC)) == (
        "#general\n"
        "2026-11-21 10:01 alice: hello\n"
        "2026-11-21 10:02 alice: two\n"
        "                 lines  [👍 2]\n"
        "2026-11-21 10:03 * alice waves\n"
        "2026-11-21 10:04 alice: (deleted)\n"
        "2026-11-21 10:05 alice: new (edited)\n"
        "\n@bob\n"
        "2026-11-21 10:06 alice: elsewhere\n"
    )


def test_markdown_has_rooms_and_days_as_heads():
    text = "".join(lines_of(ALL, "md", UTC))
    assert text.startswith("# \\#general\n\n## Saturday, 2026-11-21\n\n**alice** 10:01  \nhello\n")
    assert "two  \nlines `👍 2`\n" in text
    assert "*waves*" in text
    assert "*deleted*" in text
    assert "new *(edited)*" in text
    assert "\n# @bob\n" in text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("# head", "\\# head"),
        ("<img src=x onerror=alert(1)>", "\\<img src=x onerror=alert(1)\\>"),
        ("![x](http://x)", "!\\[x\\](http://x)"),
        ("- item\n+ item\n1. item", "\\- item  \n\\+ item  \n\\1. item"),
        ("a *b* _c_ `d` ~e~ | f", "a \\*b\\* \\_c\\_ \\`d\\` \\~e\\~ \\| f"),
        ("&lt;", "\\&lt;"),
        ("---\n===", "\\---  \n\\==="),
    ],
)
def test_what_people_say_is_no_markup(text: str, escaped: str):
    assert f"\n{escaped}\n" in "".join(lines_of([said(text)], "md", UTC))


@given(st.text())
def test_json_lines_keep_every_letter(text: str):
    text = text.encode("utf-8", "replace").decode()
    [line] = lines_of([said(text)], "jsonl")
    assert json.loads(line)["text"] == text


def test_a_clock_that_is_centuries_off_does_no_harm():
    for form in ("jsonl", "md", "text"):
        assert "".join(lines_of([said("hi", time=1 << 48)], format_for("", form)))


@pytest.mark.parametrize(
    ("path", "wanted", "form"),
    [
        ("a.md", None, "md"),
        ("A.MARKDOWN", None, "md"),
        ("a.jsonl", None, "jsonl"),
        ("a.txt", None, "text"),
        ("a", None, "text"),
        ("a.md", "jsonl", "jsonl"),
    ],
)
def test_the_format_is_the_one_asked_for_else_the_files(path: str, wanted: str | None, form: str):
    assert format_for(path, wanted) == form


@pytest.mark.parametrize(
    ("before", "words"),
    [(timedelta(seconds=5), "just now"), (timedelta(minutes=5), "5m ago"), (timedelta(hours=30), "1d ago")],
)
def test_how_long_ago(before: timedelta, words: str):
    assert ago((NOW - before).isoformat(), NOW) == words
