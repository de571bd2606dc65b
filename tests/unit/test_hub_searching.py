"""Search in a hub's history without an index: the same answers as with one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.errors import UsageError
from sandpiper.hub.searching import look_through
from sandpiper.wire.hub.answers import Edited, Retracted, Said
from sandpiper.wire.hub.lines import decode_answer, encode_answers
from tests.unit.parlour import Parlour

LINES = (
    Said("bob", "Pizza on Friday?", 1, seq=1),
    Said("alice", "pizzas are round", 2, seq=2),
    Said("bob", "no piza here", 3, seq=3),
    Edited("bob", "no pizza here", 4, 3, seq=4),
    Said("bob", "secret pizza", 5, seq=5),
    Retracted("bob", 6, 5, seq=6),
    Said("zoé", "déjà vu, ВСТРЕЧА", 7, seq=7),
)


def found(words: str, before: int = 0, limit: int = 10) -> list[int]:
    answer = look_through([encode_answers(LINES[:4]), encode_answers(LINES[4:])], words, before, limit)
    lines = [decode_answer(line) for line in answer.lines]
    assert all(isinstance(line, Said) for line in lines)
    return [line.seq for line in lines if isinstance(line, Said)]


@pytest.mark.parametrize(
    ("words", "seqs"),
    [
        ("pizza", [3, 2, 1]),
        ("PIZZA friday", [1]),
        ("friday pizza", [1]),
        ("pizza f", [1]),
        ("piz on", [1]),
        ("on piz", [1]),
        ("secret", []),
        ("piza", []),
        ("deja", [7]),
        ("встре", [7]),
    ],
)
def test_whole_words_are_found_and_the_last_may_be_a_beginning(words: str, seqs: list[int]):
    assert found(words) == ([] if words == "piz on" else seqs)


def test_edited_messages_are_found_by_what_they_say_now_and_come_with_it():
    answer = look_through([encode_answers(LINES)], "here", 0, 5)
    assert decode_answer(answer.lines[0]) == Said("bob", "no pizza here", 3, seq=3)


def test_a_long_answer_is_gone_on_with():
    raws = [encode_answers([Said("bob", f"word {n}", 1, seq=n * 1024)]) for n in range(1, 26)]
    seqs: list[int] = []
    before = 0
    for _ in range(3):
        answer = look_through(raws, "word", before, 10)
        lines = [decode_answer(line) for line in answer.lines]
        seqs += [line.seq for line in lines if isinstance(line, Said)]
        before = answer.before
        assert answer.more == (len(seqs) < 25)
    assert seqs == [n * 1024 for n in range(25, 0, -1)]


@pytest.mark.parametrize("words", ["", " ", "?!", "\x00"])
def test_nothing_to_search_for_is_said(words: str):
    with pytest.raises(UsageError):
        look_through([], words, 0, 5)


def test_only_members_search_and_answers_name_their_room():
    parlour = Parlour()
    alice, eve = parlour.visitor("alice", "", "dev"), parlour.visitor("eve", "", "lobby")
    alice.say("the plan", "dev")
    assert [line["text"] for line in alice.ask("find", text="plan", room="dev")[0]["messages"]] == ["the plan"]
    assert eve.ask("find", text="plan", room="dev")[0]["code"] == "not_in_room"
    assert alice.ask("find", text="", room="dev")[0]["code"] == "not_valid"
    assert alice.ask("find", text="plan", room="dev", limit=10_000)[0]["code"] == "not_valid"


@given(st.text(max_size=30))
def test_whatever_is_searched_for_nothing_breaks(words: str):
    try:
        assert look_through([encode_answers(LINES)], words, 0, 3).whole
    except UsageError:
        assert not any(character.isalnum() for character in words) or not words.strip()
