"""Safety words: the same for the two who compare them, and for nobody who stands between them."""

import random
import re
from itertools import pairwise

import pytest

from sandpiper.crypto.identity import Identity
from sandpiper.crypto.safety import GROUPS, WORDS, safety
from sandpiper.crypto.words import WORD_BITS, words
from sandpiper.wire.ids import PeerKey

ALICE, BOB, EVE, MALLORY = (Identity(bytes([seed]) * 32).key for seed in range(1, 5))


# ---------------------------------------------------------------- the list


def test_the_list_has_2048_words_in_order_of_letters_that_anybody_can_type():
    said = words()
    assert len(said) == 2048 == 1 << WORD_BITS
    assert all(one < other for one, other in pairwise(said)), "sorted, and none twice"
    for word in said:
        assert re.fullmatch("[a-z]{3,7}", word), word


def test_four_letters_tell_a_word_and_short_words_begin_no_other():
    said = words()
    assert len({word[:4] for word in said}) == len(said)
    starts = {word[:3] for word in said if len(word) > 3}
    assert [word for word in said if len(word) == 3 and word in starts] == []


def test_words_of_the_design_are_in_the_list():
    assert {"pine", "ocean", "tide", "otter", "maple", "lantern", "quay", "velvet", "moss", "forty"} <= set(words())


ALIKE = """key/quay sea/see sun/son night/knight piece/peace flower/flour bear/bare plain/plane right/write tide/tied
 road/rode meat/meet wait/weight mail/male rose/rows deer/dear hour/our tea/tee board/bored steel/steal break/brake
 weather/whether wood/would maze/maize profit/prophet muscle/mussel pedal/peddle cereal/serial coral/choral lyre/liar
 great/grate pair/pear sail/sale tale/tail rain/reign root/route blue/blew one/won four/for eight/ate two/too"""


@pytest.mark.parametrize("pair", ALIKE.split())
def test_of_words_that_sound_alike_at_most_one_is_in_the_list(pair: str):
    assert len(set(pair.split("/")) & set(words())) <= 1


# ---------------------------------------------------------------- what two people see


def test_both_sides_see_the_same():
    mine, theirs = safety(ALICE, BOB), safety(BOB, ALICE)
    assert mine == theirs
    assert (len(mine.words), len(mine.digits)) == (WORDS, GROUPS) == (8, 8)
    assert set(mine.words) <= set(words())
    for group in mine.digits:
        assert re.fullmatch("[0-9]{5}", group)


@pytest.mark.parametrize("bit", [0, 7, 128, 255])
def test_one_bit_of_either_key_changes_all(bit: int):
    number = int.from_bytes(BOB, "big") ^ (1 << bit)
    changed = safety(ALICE, PeerKey(number.to_bytes(32, "big")))
    before = safety(ALICE, BOB)
    same = sum(one == other for one, other in zip(before.words, changed.words, strict=True))
    assert same <= 2, "words that stay would be a chance for somebody in the middle"
    assert changed.digits != before.digits


def test_a_man_in_the_middle_shows_on_both_sides():
    """He has a key for each of the two, or one for both; whichever, they do not see the same."""
    real = safety(ALICE, BOB)
    for towards_alice, towards_bob in [(EVE, MALLORY), (EVE, EVE)]:
        alice_sees, bob_sees = safety(ALICE, towards_alice), safety(BOB, towards_bob)
        for one, other in [(alice_sees, bob_sees), (alice_sees, real), (bob_sees, real)]:
            assert one.words != other.words
            assert one.digits != other.digits
            assert sum(a == b for a, b in zip(one.words, other.words, strict=True)) <= 2


def test_keys_cannot_be_cut_elsewhere():
    """The two keys are hashed one after the other: no other two of 32 bytes are the same bytes."""
    joined = ALICE + BOB
    assert safety(PeerKey(joined[:32]), PeerKey(joined[32:])) == safety(ALICE, BOB)
    assert safety(PeerKey(joined[1:33]), PeerKey(joined[33:] + joined[:1])) != safety(ALICE, BOB)


def test_every_word_and_every_digit_can_come():
    rng = random.Random(7)
    seen: set[str] = set()
    firsts: set[str] = set()
    for _ in range(30):
        said = safety(PeerKey(rng.randbytes(32)), PeerKey(rng.randbytes(32)))
        seen |= set(said.words)
        firsts |= {group[0] for group in said.digits}
    assert len(seen) > 200, "240 words drawn from 2,048 are seldom the same"
    assert firsts == set("0123456789")
