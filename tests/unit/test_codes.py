"""Codes: what people type becomes the code that was meant or a sentence that gives nothing away."""

from __future__ import annotations

import io
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.pretty import Pretty

from sandpiper.crypto.codes import (
    ENTROPY_BYTES,
    MAX_TYPED,
    POSSIBLE_CODES,
    BadCode,
    Code,
    complete,
    like_code,
    make_code,
    parse_code,
    suggest,
)
from sandpiper.crypto.words import words

CODE = Code("42", ("pine", "ocean"))
codes = st.builds(
    Code,
    st.integers(1, 10**9 - 1).map(str),
    st.tuples(st.sampled_from(words()), st.sampled_from(words())),
)


def test_every_pair_of_words_is_equally_likely() -> None:
    assert POSSIBLE_CODES == len(words()) ** 2 == 2**22
    first, last = make_code("1", bytes(3)), make_code("1", b"\xff" * 3)
    assert first.words == (words()[0], words()[0])
    assert last.words == (words()[-1], words()[-1])
    # The two highest bits do not matter: each pair stands for four of the 2^24 values.
    assert make_code("1", b"\xc0\x00\x01") == make_code("1", b"\x00\x00\x01")
    assert len({make_code("1", number.to_bytes(3, "big")).words for number in range(0, 1 << 22, 641)}) == -(
        -(1 << 22) // 641
    )


@pytest.mark.parametrize(
    ("nameplate", "size"), [("42", 2), ("42", 4), ("", 3), ("0", 3), ("042", 3), ("1" * 10, 3), ("4\n", 3), ("x", 3)]
)
def test_a_code_is_made_of_a_nameplate_and_enough_entropy_only(nameplate: str, size: int) -> None:
    assert ENTROPY_BYTES == 3
    with pytest.raises(ValueError, match="random bytes"):
        make_code(nameplate, bytes(size))


@given(codes)
def test_what_is_spoken_is_understood(code: Code) -> None:
    assert parse_code(code.spoken) == code


@pytest.mark.parametrize(
    "typed",
    [
        "pine-ocean-42", "PINE-OCEAN-42", "Pine Ocean 42", "  pine - ocean -  42\n", "pine ocean42", "42-pine-ocean",
        "42 pine ocean", "pine-42-ocean", "pine.ocean.42", "pine_ocean_42", "pine, ocean, 42", '"pine-ocean-42"',
        "pine\u2010ocean\u201142", "pine\u2013ocean\u201442", "\uff50\uff49\uff4e\uff45-ocean-\uff14\uff12",
        "pine-ocea-42", "pine-ocean-042", "pine ocean \u0664\u0662",
    ],
)  # fmt: skip
def test_codes_are_read_as_people_type_them(typed: str) -> None:
    assert parse_code(typed) == CODE


@given(codes, st.data())
def test_four_letters_of_a_word_are_enough(code: Code, data: st.DataObject) -> None:
    short = [word[: data.draw(st.integers(4, 7))] for word in code.words]
    assert parse_code(f"{short[0]} {short[1]} {code.nameplate}") == code


@pytest.mark.parametrize(
    ("typed", "saying"),
    [
        ("", "no words and no numbers"),
        ("42", "no words and 1 number"),
        ("pine-ocean", "2 words and no numbers"),
        ("pine-42", "1 word and 1 number"),
        ("pine-ocean-moon-42", "3 words"),
        ("pine-ocean-4-2", "2 words and 2 numbers"),
        ("pine-ocean-0", "is not 0"),
        ("pine-ocean-1234567890", "1 to 9 digits"),
        ("pin-ocean-42", "first word"),
        ("pine-oce-42", "second word"),
        ("pine-oceanic-42", "second word"),
        ("ocaen-zzzz-42", "first word"),
        ("pine-ocean-42 " + "x" * MAX_TYPED, "no words"),
    ],
)
def test_what_is_no_code_is_refused_with_the_part_that_is_wrong(typed: str, saying: str) -> None:
    with pytest.raises(BadCode, match=saying) as caught:
        parse_code(typed)
    assert caught.value.hint
    assert caught.value.code == "bad_code"
    assert caught.value.exit_code == 2


@given(codes, codes, st.sampled_from(["{0}-{1}", "{0}x-{1}-{2}", "{0}-{1}-{2}-{2}", "{0}-{1}-0", "zzzz-{1}-{2}"]))
def test_an_error_is_the_same_whatever_the_words_are(code: Code, other: Code, shape: str) -> None:
    said = []
    for words_typed in (code.words, other.words):
        with pytest.raises(BadCode) as caught:
            parse_code(shape.format(*words_typed, code.nameplate))
        said.append((repr(caught.value), caught.value.sentence(), traceback.format_exception_only(caught.value)))
    assert said[0] == said[1]


def test_no_repr_shows_the_words() -> None:
    shown = io.StringIO()
    Console(file=shown, width=200).print(Pretty(CODE), Pretty([CODE]), CODE)
    for text in (repr(CODE), str(CODE), f"{CODE}", repr([CODE]), shown.getvalue()):
        assert "42" in text
        assert "pine" not in text
        assert "ocean" not in text


# ---------------------------------------------------------------- slips


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("pine-ocaen-42", "pine-ocean-42"),  # two exchanged
        ("pine-oceen-42", "pine-ocean-42"),  # one wrong
        ("pine-ocen-42", "pine-ocean-42"),  # one missing
        ("pine-occean-42", "pine-ocean-42"),  # one too many
        ("42 pine ocaen", "pine-ocean-42"),
        ("pine-occaen-42", "pine-ocean-42"),  # two slips in one word
        ("pine-ocnea-42", "pine-ocean-42"),
    ],
)
def test_one_slip_is_answered_with_what_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(BadCode):
        parse_code(typed)
    assert meant in suggest(typed)
    assert suggest(typed).startswith("Did you mean ")


@pytest.mark.parametrize(
    "typed", ["", "pine", "pine-ocean", "qqqqqqq-ocean-42", "pine-xqjzv-42", "x" * 10_000, "pine-ocaen-0"]
)
def test_nothing_is_suggested_where_nothing_is_near(typed: str) -> None:
    assert suggest(typed) == ""


@pytest.mark.parametrize(
    "typed",
    ["pine-ocaen-42", "pine-zzzzz-42", "PINE OCEEN 42", "pine-ocean", "pine-ocean-0", "pinee-ocean-7", "pin-oce-1"],
)
def test_what_was_meant_as_a_code_is_known_to_be_no_name_of_a_room(typed: str) -> None:
    with pytest.raises(BadCode):
        parse_code(typed)
    assert like_code(typed)


@pytest.mark.parametrize("typed", ["", "dev", "team-b-2", "2025", "pine", "rooms-of-my-own-2", "sailing-zzz"])
def test_names_of_rooms_are_not_taken_for_codes(typed: str) -> None:
    assert not like_code(typed)


@given(st.text(max_size=60))
def test_any_text_is_a_code_or_an_error_of_ours(typed: str) -> None:
    suggest(typed)
    complete(typed)
    like_code(typed)
    try:
        code = parse_code(typed)
    except BadCode:
        return
    assert parse_code(code.spoken) == code


# ---------------------------------------------------------------- Tab


def test_tab_finishes_the_last_word() -> None:
    assert complete("pine-oc") == tuple(f"pine-{word}-" for word in words() if word.startswith("oc"))
    assert "pine-ocean-" in complete("pine-ocea")
    assert all(offer.startswith("pi") and offer.endswith("-") for offer in complete("pi"))
    assert complete("PINE OCEA") == ("PINE ocean-",)
    assert complete("42-pin")
    assert all(offer.startswith("42-pin") for offer in complete("42-pin"))
    assert complete("42-pine-ocea") == ("42-pine-ocean",)


@pytest.mark.parametrize(
    "typed", ["", "pine-", "pine-ocean-", "pine-ocean-4", "pine-ocean-x", "zzzz-oc", "pine-zzzz", "p" * 1000]
)
def test_tab_offers_nothing_where_nothing_can_follow(typed: str) -> None:
    assert complete(typed) == ()
