"""Peer text is harmless once it has passed `wire.text`, and people's own scripts and emoji come through it."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandpiper.errors import UsageError
from sandpiper.wire.limits import (
    MAX_COMBINING_MARKS,
    MAX_EMOJI_CHARS,
    MAX_NICK_CHARS,
    MAX_ROOM_NAME_CHARS,
    MAX_STATUS_CHARS,
    MAX_TEXT_CHARS,
    MAX_TOPIC_CHARS,
)
from sandpiper.wire.text import (
    check_nick,
    check_room_name,
    clean_emoji,
    clean_line,
    clean_nick,
    clean_status,
    clean_text,
    clean_topic,
)

TRICKY = (
    "\x00\x07\x1b\x7f\x85\x9b\x9d\r\n\t\x0b\u200b\u200c\u200d\u200e\u202a\u202e\u2028\u2066\u2069"
    "\ufe0f\ufeff\U000e0041\u0301 @#/~+"
)
hostile = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from(TRICKY), max_size=200)


def kinds(text: str) -> set[str]:
    return {unicodedata.category(char) for char in text}


def is_harmless(text: str, *, lines: bool) -> bool:
    allowed = {"\n", "\t"} if lines else set()
    return not any(
        (unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and char not in allowed | {"\u200c", "\u200d"})
        or ord(char) & 0xFFFE == 0xFFFE
        for char in text
    )


@given(hostile)
def test_no_control_or_invisible_format_character_comes_through(text: str) -> None:
    assert is_harmless(clean_text(text), lines=True)
    for clean in (clean_topic, clean_status, clean_nick, clean_emoji):
        assert is_harmless(clean(text), lines=False), clean.__name__


@given(hostile, st.integers(2, 50))
@example("\r\r\n\n", 10)
def test_cleaning_what_is_clean_changes_nothing(text: str, limit: int) -> None:
    assert clean_text(clean_text(text, limit), limit) == clean_text(text, limit)
    assert clean_line(clean_line(text, limit), limit) == clean_line(text, limit)
    for clean in (clean_topic, clean_status, clean_nick, clean_emoji):
        assert clean(clean(text)) == clean(text), clean.__name__


@given(st.text(max_size=3000), st.integers(1, 40))
def test_length_is_bounded_and_a_cut_is_marked(text: str, limit: int) -> None:
    cleaned = clean_text(text, limit)
    assert len(cleaned) <= limit
    if len(text) > limit:
        assert cleaned.endswith("…")
    assert len(clean_line(text, limit)) <= limit


def test_every_kind_of_text_has_its_bound() -> None:
    long = "a" * 1_000_000
    assert [len(f(long)) for f in (clean_text, clean_topic, clean_status, clean_nick, clean_emoji)] == [
        MAX_TEXT_CHARS,
        MAX_TOPIC_CHARS,
        MAX_STATUS_CHARS,
        MAX_NICK_CHARS,
        MAX_EMOJI_CHARS,
    ]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),  # CSI: colours, cursor, clearing the screen
        ("\x1b]52;c;cm0gLXJm\x07", "␛]52;c;cm0gLXJm␇"),  # OSC 52: writes to the clipboard
        ("\x1b]8;;http://evil\x1b\\good.example", "␛]8;;http://evil␛\\good.example"),  # OSC 8: a link that lies
        ("\x1bP+q544e\x1b\\", "␛P+q544e␛\\"),  # DCS: asks the terminal, which types the answer
        ("\x9b31mred\x9d0;title\x9c", "\ufffd31mred\ufffd0;title\ufffd"),  # the same with C1 codes
        ("\u202eevil\u202c exe.txt", "evil exe.txt"),  # right-to-left override
        ("\u2066a\u2067b\u2068c\u2069", "abc"),  # isolates
        ("\u200ea\u200fb\u061cc", "abc"),  # marks
        ("pass\u200bword\ufeff\u2060\u00ad", "password"),  # zero width, byte order mark, joiner, soft hyphen
        ("hi\U000e0061\U000e0062\U000e007f", "hi"),  # tag characters: text that only machines see
        ("\ufff9annotation\ufffb", "annotation"),
        ("a\x00b\x08c\x7fd", "a␀b␈c␡d"),
        ("one\r\ntwo\rthree\u2028four\u2029five", "one\ntwo\nthree\nfour\nfive"),
        ("bell\x07 tab\t vt\x0b ff\x0c", "bell␇ tab\t vt␋ ff␌"),
        ("\ud800 \udfff", "\ufffd \ufffd"),  # lone surrogates
        ("\ufffe\uffff\U0010ffff", "\ufffd\ufffd\ufffd"),  # non-characters
    ],
)
def test_hostile_text_is_shown_as_what_it_is(raw: str, shown: str) -> None:
    assert clean_text(raw) == shown
    assert is_harmless(clean_line(raw, 200), lines=False)


def test_piles_of_combining_marks_are_cut_to_what_a_script_can_need() -> None:
    zalgo = "h" + "\u0337\u0315\u0301" * 100 + "e" + "\u0360" * 50
    assert clean_text(zalgo) == "h" + ("\u0337\u0315\u0301" * 3)[:MAX_COMBINING_MARKS] + "e" + "\u0360" * 8


def test_a_pile_that_removed_characters_held_apart_is_a_pile() -> None:
    apart = "a" + "\u0301\u200b" * 100
    assert clean_text(apart) == "a" + "\u0301" * MAX_COMBINING_MARKS


@pytest.mark.parametrize(
    "text",
    [
        "👨‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 ❤️ 🇩🇪",  # ZWJ sequences, skin tones, variation selectors, flags
        "می‌خواهم کتاب‌ها را",  # noqa: RUF001 - Persian needs ZWNJ
        "क्‍ष हिन्दी বাংলা தமிழ்",  # Indic scripts need joiners and stacks
        "漢字かな交じり文 한국어 中文",
        "مرحبا بالعالم ٱلْعَرَبِيَّةُ",
        "שָׁלוֹם עוֹלָם",
        "สวัสดีชาวโลก ที่นี่",
        "Ăn quả nhớ kẻ trồng cây · naïve façade Zürich",
        "e\u0301 o\u0308 (decomposed)",
        "∀x ∈ A: √x² = |x|  ½ ± ≤ ≠",
        "tab\tand\nnew line",
        "",
        " ",
    ],
)
def test_scripts_and_emoji_come_through_unchanged(text: str) -> None:
    assert clean_text(text) == text


def test_a_line_is_one_line_whatever_space_it_came_with() -> None:
    assert clean_line("  a\n\n b\tc\u00a0d\u2003e\u2029f\u2028g\r\n", 50) == "a b c d e f g"


def test_a_megabyte_of_anything_is_cut_before_it_costs_anything() -> None:
    for piece in ("a", "\x1b", "\u0301", "\u202e", "é\n", "👩"):
        assert len(clean_text(piece * 1_000_000)) <= MAX_TEXT_CHARS
        assert len(clean_nick(piece * 1_000_000)) <= MAX_NICK_CHARS


# ---------------------------------------------------------------- nicks


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("alice", "alice"),
        ("  alice  smith ", "alice_smith"),
        ("@#/~+alice", "alice"),
        ("e\u0301milie", "émilie"),
        ("", "nameless"),
        ("\u202e\u200b", "nameless"),
        ("@@@", "nameless"),
        ("\x1b[2Jroot", "␛[2Jroot"),
        ("n" * 33, "n" * 31 + "…"),
    ],
)
def test_nicks_of_others_are_shown_safely_and_are_never_empty(raw: str, shown: str) -> None:
    assert clean_nick(raw) == shown


@given(hostile)
def test_a_nick_has_no_white_space_is_normal_and_not_too_long(raw: str) -> None:
    nick = clean_nick(raw)
    assert 1 <= len(nick) <= MAX_NICK_CHARS
    assert not any(char.isspace() for char in nick)
    assert nick[0] not in "@#/~+"


@given(hostile)
def test_whoever_types_a_nick_gets_it_as_typed_or_is_told_why_not(raw: str) -> None:
    try:
        nick = check_nick(raw)
    except UsageError as exc:
        told = exc.sentence()
    else:
        told = ""
        assert nick == unicodedata.normalize("NFC", raw.strip()) == clean_nick(nick) == check_nick(nick)
    assert is_harmless(told, lines=False)


@pytest.mark.parametrize("typed", ["", "   ", "two words", "@alice", "a\x07b", "x" * 33, "\u202ealice", "a\nb"])
def test_nicks_that_would_be_shown_otherwise_are_refused(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_nick(typed)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("typed", "nick"), [(" alice ", "alice"), ("e\u0301", "é"), ("鈴木", "鈴木"), ("👩‍💻", "👩‍💻")]
)
def test_nicks_of_all_scripts_are_taken(typed: str, nick: str) -> None:
    assert check_nick(typed) == nick


# ---------------------------------------------------------------- reactions and rooms


@pytest.mark.parametrize(
    ("raw", "shown"), [("👍", "👍"), ("  ", "?"), ("", "?"), ("a b\x07", "ab␇"), ("👨‍👩‍👧‍👦", "👨‍👩‍👧‍👦")]
)
def test_a_reaction_is_one_short_word_and_never_empty(raw: str, shown: str) -> None:
    assert clean_emoji(raw) == shown


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("dev", "dev"),
        ("#Dev", "dev"),
        (" #DEV ", "dev"),
        ("straße", "strasse"),
        ("a.b-c_d+e", "a.b-c_d+e"),
        ("日本", "日本"),
    ],
)
def test_a_room_has_one_spelling(typed: str, name: str) -> None:
    assert check_room_name(typed) == name
    assert check_room_name(name) == name


@pytest.mark.parametrize("typed", ["", "#", "##dev", "-dev", "a b", "a/b", "x" * 33, "a\u200db", "\x1b[2J", "."])
def test_names_that_no_room_can_have_are_refused_with_an_example(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_room_name(typed)
    assert caught.value.code == "bad_room_name"
    assert "#dev" in caught.value.hint
    assert is_harmless(str(caught.value), lines=False)


@given(hostile)
def test_a_room_name_that_is_taken_is_its_own_spelling(raw: str) -> None:
    try:
        name = check_room_name(raw)
    except UsageError:
        return
    assert 1 <= len(name) <= MAX_ROOM_NAME_CHARS
    assert check_room_name(name) == check_room_name("#" + name.upper()) == name or name.upper().casefold() != name


@pytest.mark.parametrize("nick", ["\u200d", "\u200c\u200d", "\u3164", "\u115f\u1160", "\u2800"])
def test_a_nick_that_nobody_sees_is_none(nick: str) -> None:
    assert clean_nick(nick) == "nameless"
    with pytest.raises(UsageError):
        check_nick(nick)


@pytest.mark.parametrize("name", ["हिन्दी", "ไทย", "ΐσως", "日本", "dev-2", "c++", "Ünï"])
def test_rooms_may_have_names_of_any_script(name: str) -> None:
    once = check_room_name(name)
    assert check_room_name(f"#{once}") == once


@pytest.mark.parametrize("name", ["", "#", "-dev", "a b", "a/b", "a\x1bb", "\u0301a", "x" * 33, "a\u200db"])
def test_room_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_room_name(name)
