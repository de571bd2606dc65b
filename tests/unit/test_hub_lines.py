"""Lines of the hub's chat: what is read, what is refused and how, and that nothing hostile comes through."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING

import pytest

from sandpiper.wire.hub import lines
from sandpiper.wire.hub.answers import Error, NickSet, Notice, Said
from sandpiper.wire.hub.asks import AnyAsk, Edit, Hello, Msg, Nick
from sandpiper.wire.hub.lines import (
    _HARMLESS,
    BadAnswer,
    BadLine,
    decode_answer,
    decode_chunk,
    encode_answers,
    safe_text,
)
from sandpiper.wire.limits import MAX_LINE_BYTES, MAX_TEXT_CHARS
from sandpiper.wire.text import clean_text

if TYPE_CHECKING:
    import re

GOOD = b'{"type":"msg","text":"hi"}\n'


def codes(chunk: bytes) -> list[str]:
    return [one.code if isinstance(one, BadLine) else type(one).__name__ for one in decode_chunk(chunk)]


def test_a_chunk_of_founding_lines_is_read_at_once():
    assert decode_chunk(b'{"type":"nick","nick":"alice"}\n' + GOOD) == [Nick("alice"), Msg("hi")]


def test_carriage_returns_blank_lines_and_unknown_fields_are_no_matter():
    chunk = b'\r\n\n{"type":"msg","text":"hi","colour":[1,{"a":null}],"nick":"eve"}\r\n  \n' + GOOD
    assert decode_chunk(chunk) == [Msg("hi"), Msg("hi")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello", "not_json"),
        (b"\x00\x01\x02", "not_json"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "not_json"),
        (b"{", "not_json"),
        (b"[]", "not_valid"),
        (b"7", "not_valid"),
        (b"{}", "not_valid"),
        (b'{"type":"msg"}', "not_valid"),
        (b'{"type":"msg","text":""}', "not_valid"),
        (b'{"type":"msg","text":7}', "not_valid"),
        (b'{"type":"msg","text":"a","reply_to":1e400}', "not_valid"),
        (b'{"type":"msg","text":"a","reply_to":' + b"9" * 5000 + b"}", "not_valid"),
        (b'{"type":"msg","text":"a","reply_to":-1}', "not_valid"),
        (b'{"type":"msg","text":"a","client_id":"\\u001b[2J"}', "not_valid"),
        (b'{"type":"msg","text":"' + b"x" * (MAX_TEXT_CHARS + 1) + b'"}', "not_valid"),
        (b'{"type":"auth","key":"AAAA"}', "not_valid"),
        (b'{"type":"reboot"}', "unknown_type"),
        (b'{"type":7}', "not_valid"),
        (b'{"type":"msg","text":"\xff\xfe"}', "not_utf8"),
        (b'{"type":"msg","text":"a","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "nested_too_deep"),
        (b'{"type":"msg","text":"a","x":"' + b"x" * MAX_LINE_BYTES + b'"}', "line_too_long"),
        (b'{"type":"msg","text":"a"}{"type":"msg","text":"b"}', "not_json"),
    ],
    ids=range(22),
)
def test_a_bad_line_is_told_apart_and_its_neighbours_are_not_harmed(line: bytes, code: str):
    assert codes(GOOD + line + b"\n" + GOOD) == ["Msg", code, "Msg"]
    bad = decode_chunk(line + b"\n")[0]
    assert isinstance(bad, BadLine)
    assert len(bad.text) < 300
    assert bad.text.isprintable()


@pytest.mark.parametrize("bad", [b"x", b"{}", b'{"type":"reboot"}', b'{"type":"msg","text":7}'])
def test_nothing_is_looked_at_after_so_many_bad_lines(bad: bytes, monkeypatch: pytest.MonkeyPatch):
    looked: list[bytes] = []

    def looking(line: bytes) -> AnyAsk | BadLine:
        looked.append(line)
        return decode(line)

    decode = lines._decode_line
    monkeypatch.setattr(lines, "_decode_line", looking)
    chunk = GOOD + (bad + b"\n") * 2 + GOOD + (bad + b"\n") * 10_000
    found = decode_chunk(chunk, 20)
    assert found == decode_chunk(chunk)[:22]
    assert len(found) == 22
    assert looked[:22] == chunk.splitlines()[:22]
    assert len(looked) == 22 + 10_004, "the second time all of them"


def test_blank_lines_between_are_passed_over_at_once(monkeypatch: pytest.MonkeyPatch):
    looked: list[int] = []

    class Counting:
        @staticmethod
        def search(chunk: bytes, at: int) -> re.Match[bytes] | None:
            looked.append(at)
            return text.search(chunk, at)

    text = lines._TEXT
    monkeypatch.setattr(lines, "_TEXT", Counting)
    assert decode_chunk(b"\n" * 30_000 + GOOD + b" \n\r\n" * 10_000 + GOOD + b"\n \n") == [Msg("hi"), Msg("hi")]
    assert len(looked) < 10


def test_an_object_over_several_lines_is_as_bad_in_one_chunk_as_in_two():
    assert codes(b'{"type":"msg",\n"text":"a"}\n') == codes(b'{"type":"msg",\n') + codes(b'"text":"a"}\n')


def test_a_line_has_64_kib_with_its_newline():
    def line(size: int) -> bytes:
        return b'{"type":"msg","text":"a"' + b" " * (size - 26) + b"}\n"

    fits, over = line(MAX_LINE_BYTES), line(MAX_LINE_BYTES + 1)
    assert (len(fits), codes(fits), codes(over)) == (MAX_LINE_BYTES, ["Msg"], ["line_too_long"])
    assert codes(GOOD + fits + fits + GOOD + over + GOOD) == ["Msg", "Msg", "Msg", "Msg", "line_too_long", "Msg"]


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("hostile", ["a\x7fb", "a\u202eb\u200bc\u0085d", "a" + "\u0301" * 50, "\x1b[31m", "a\rb"])
def test_texts_are_safe_to_show(escaped: bool, hostile: str):
    for kind, more in (("msg", {}), ("edit", {"id": 1})):
        raw = json.dumps({"type": kind, "text": hostile, **more}, ensure_ascii=escaped).encode() + b"\n"
        (ask,) = decode_chunk(raw)
        assert isinstance(ask, (Msg, Edit))
        assert ask.text == clean_text(hostile) != hostile


def test_the_short_way_to_safe_texts_is_the_long_way():
    harmless = [chr(code) for code in range(0x110000) if _HARMLESS.fullmatch(chr(code))]
    assert len(harmless) > 30_000
    for char in harmless:
        assert clean_text(char) == char, hex(ord(char))
        assert unicodedata.category(char) not in ("Mn", "Me"), "marks pile up"


@pytest.mark.parametrize(
    "text", ["plain", "Grüße, λόγος, привет, こんにちは, 你好, 안녕", "a\u202eb", "a" + "\u0301" * 50, "a\nb\r\nc"]
)
def test_safe_texts_are_what_they_are_elsewhere(text: str):
    assert safe_text(text) == clean_text(text)


def test_old_programs_find_the_founding_fields_first():
    lines = encode_answers(
        [
            NickSet("nick set to alice", 1735812345, "alice"),
            Notice("alice joined", 1735812345),
            Said("alice", "hi", 1735812345),
            Said("alice", "hi", 1735812345, "", 7),
            Error("That was no JSON."),
        ]
    )
    assert lines.splitlines() == [
        b'{"type":"nick","text":"nick set to alice","ts":1735812345,"nick":"alice"}',
        b'{"type":"notice","text":"alice joined","ts":1735812345}',
        b'{"type":"msg","nick":"alice","text":"hi","ts":1735812345}',
        b'{"type":"msg","nick":"alice","text":"hi","ts":1735812345,"seq":7}',
        b'{"type":"error","text":"That was no JSON."}',
    ]


def test_answers_are_read_back():
    said = Said("alice", "hi", 1735812345, "dev", 7, "c1", 3, True)
    assert decode_answer(encode_answers([said])) == said
    with pytest.raises(BadAnswer, match="could not be read"):
        decode_answer(b'{"type":"later"}')


def test_hello_says_what_a_program_can_do():
    assert decode_chunk(b'{"type":"hello","v":2,"features":["x"]}\n') == [Hello(2, ("x",))]
