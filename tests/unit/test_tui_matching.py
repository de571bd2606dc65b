"""What is found by a few letters, and where searched words stand in a text."""

import pytest

from sandpiper.faces.spans import Span, columns, text_of
from sandpiper.faces.tui.dialogs.matching import MAX_TEXT, around_spots, highlighted, match, spots


def order(query: str, *texts: str) -> list[str]:
    found = [(fit.score, text) for text in texts if (fit := match(query, text))]
    return [text for _, text in sorted(found, key=lambda each: -each[0])]


def places(query: str, text: str) -> tuple[int, ...]:
    fit = match(query, text)
    assert fit is not None
    return fit.places


def test_all_letters_must_come_in_their_order():
    assert match("mya", "maya") is not None
    assert match("yam", "maya") is None
    assert match("mayaa", "maya") is None


def test_nothing_typed_fits_everything():
    assert match("", "maya") == (0, ())
    assert match("  ", "maya") == (0, ())


def test_a_beginning_beats_the_beginning_of_a_word_and_that_beats_the_middle():
    assert order("ma", "tomas", "build machine", "maya") == ["maya", "build machine", "tomas"]


def test_letters_that_begin_words_beat_letters_in_between():
    assert order("bc", "abacus", "build-crew") == ["build-crew", "abacus"]
    assert places("nu", "next unread") == (0, 5)


def test_of_two_that_fit_alike_the_shorter_comes_first():
    assert order("dev", "development-and-more", "dev") == ["dev", "development-and-more"]


def test_case_accents_and_spaces_do_not_matter():
    assert places("ZOE", "zoë") == (0, 1, 2)
    assert match("build crew", "build-crew") is not None


def test_places_are_characters_of_the_text_also_where_folding_changes_lengths():
    assert places("b", "Straße b") == (7,)
    assert places("x", "İİx") == (2,)


def test_a_text_without_end_is_not_read_to_its_end():
    assert match("b", "a" * MAX_TEXT + "b") is None
    assert match("b", "a" * (MAX_TEXT - 1) + "b") is not None


def test_highlighting_keeps_the_text_and_never_parts_an_accent_from_its_letter():
    spans = highlighted("cafe\u0301 x", (0, 3))
    assert text_of(spans) == "cafe\u0301 x"
    assert Span("e\u0301", "mention") in spans


def test_searched_words_are_found_where_a_word_begins():
    assert spots("a pizza, repizza Pizzas", ["pizza"]) == [(2, 7), (17, 22)]
    assert spots("Café cafe", ["cafe"]) == [(0, 4), (5, 9)]
    assert spots("anything", [""]) == []


def test_an_excerpt_shows_the_first_word_found_even_far_into_a_long_message():
    text = "begin " + "blah " * 200 + "pizza\nfriday " + "end " * 200
    shown = text_of(around_spots(text, ["pizza"], 12, 60))
    assert shown.startswith("…")
    assert "pizza friday" in shown
    assert shown.index("pizza") <= 13
    assert shown.endswith("…")
    assert columns(shown) <= 62


def test_an_excerpt_of_a_short_message_is_the_message():
    assert text_of(around_spots("pizza on friday", ["friday"], 12, 60)) == "pizza on friday"


@pytest.mark.parametrize("text", ["", "👨‍👩‍👧" * 50 + " pizza", "日本語" * 40 + " pizza", "\u0301" * 30 + "pizza"])
def test_any_text_has_an_excerpt(text):
    around_spots(text, ["pizza"], 12, 60)
