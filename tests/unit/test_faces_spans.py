"""Styled text: folding by the width of what is seen, and the only way to an escape sequence."""

import re
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth, wcwidth

from sandpiper.faces.spans import (
    MIN_FOLD,
    Line,
    Span,
    ansi,
    colour,
    columns,
    dim,
    excerpt,
    fold,
    harmless,
    line,
    text_of,
)

ESCAPE = re.compile("\x1b\\[[0-9;]*m")


def folded(text: str, width: int | None, indent: int = 2) -> list[str]:
    return [text_of(one) for one in fold(line(text), width, indent)]


def test_words_are_kept_whole_where_they_fit():
    assert folded("the quick brown fox jumps over", 20) == ["the quick brown fox ", "  jumps over"]


def test_a_word_wider_than_the_line_is_broken():
    assert folded("x" * 45, 20) == ["x" * 20, "  " + "x" * 18, "  " + "x" * 7]


def test_wide_characters_count_two_cells():
    assert folded("日本語日本語日本語日本語", 20) == ["日本語日本語日本語日", "  本語"]


def test_newlines_are_indented_also_without_a_width():
    assert folded("one\n10:31 bob: two", None, 6) == ["one", "      10:31 bob: two"]


def test_padding_cannot_push_text_to_the_beginning_of_a_line():
    lines = folded("hi" + " " * 200 + "10:31 alice: I owe you", 40, 6)
    assert all(one.startswith("      ") for one in lines[1:])


def test_a_terminal_too_narrow_to_fold_is_left_to_do_it():
    assert folded("the quick brown fox jumps over", MIN_FOLD - 1) == ["the quick brown fox jumps over"]


def test_tabs_become_spaces():
    assert folded("a\tb", None) == ["a    b"]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("की", 2),  # a letter and a vowel sign that stands beside it
        ("हिन्दी", 5),  # letter by letter; 4 by syllables
        ("தமிழ்", 4),
        ("क" + "ा" * 9, 10),  # no word, and no terminal makes it narrow
        ("ा", 1),  # beside nothing
        ("नमस्ते", 4),  # signs above and below take nothing
        ("日ा", 3),
        ("é 👩\u200d👩\u200d👧", 4),
        ("日\x85本", 5),
    ],
    ids=ascii,
)
def test_vowel_signs_that_stand_beside_their_letter_take_a_cell(text: str, cells: int):
    assert columns(text) == cells


@given(st.text(st.sampled_from("कषநகிाीीः்ொ्ेaé日 ")))
def test_no_text_is_measured_narrower_than_a_terminal_draws_it(text: str):
    letter_by_letter = sum(1 if category(char) == "Mc" else wcwidth(char) for char in text)
    assert columns(text) >= max(letter_by_letter, wcswidth(text))


@given(st.text(), st.integers(MIN_FOLD, 120), st.integers(0, 9))
def test_no_line_is_wider_than_asked_and_no_letter_is_lost(text: str, width: int, indent: int):
    styled: Line = (dim("12:34 "), Span(text))
    lines = fold(styled, width, indent)
    for one in lines[1:]:
        assert text_of(one).startswith(" " * indent)
    for one in lines:
        assert columns(text_of(one)) <= width + 1  # a lone grapheme may be of two cells where one is left
    assert re.sub(r"\s", "", "".join(map(text_of, lines))) == re.sub(r"\s", "", text_of(styled))


def test_styles_survive_folding():
    lines = fold((colour("bob", 33), Span(": "), Span("word " * 10, "bold")), 20, 4)
    assert lines[0][0] == Span("bob", "colour 33")
    assert all(span.style in ("", "bold") for one in lines[1:] for span in one)
    assert any(span.style == "bold" for span in lines[-1])


def test_ansi_wraps_text_in_styles_and_nothing_else():
    assert ansi((Span("a"), dim("b"), colour("c", 33, bold=True))) == "a\x1b[2mb\x1b[0m\x1b[1;38;5;33mc\x1b[0m"


HOSTILE = [
    "\x1b[2J",
    "\x1b]52;c;AAAA\x07",
    "\x9b31m",
    "\x00",
    "\r",
    "a\nb",
    "\u202eevil",
    "\u2028",
    "\x7f",
    "\U000e0041",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_the_last_net_lets_nothing_through_that_moves_the_cursor(text: str):
    shown = ESCAPE.sub("", ansi(harmless((Span(text, "bold"), dim(text)))))
    assert shown.isprintable()
    assert "\u202e" not in shown


@given(st.text())
def test_whatever_the_text_what_is_printed_is_printable(text: str):
    shown = ESCAPE.sub("", ansi(harmless((Span(text, "bold"),))))
    assert not re.search("[\x00-\x1f\x7f-\x9f]", shown)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])), st.integers(4, 60))
def test_an_excerpt_is_one_line_and_fits(text: str, width: int):
    short = excerpt(text, width)
    assert "\n" not in short
    assert columns(short) <= width


def test_an_excerpt_of_a_short_text_is_the_text():
    assert excerpt("hi there", 20) == "hi there"
    assert excerpt("a\nb", 20) == "a b"
    assert excerpt("one two three four", 10) == "one two t…"
