"""Verified names and who comes with them under another key: what counts as the same name, and who gets it bare."""

# ruff: noqa: RUF001  (letters that look alike are what this is about)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.core.likeness import likeness
from sandpiper.core.names import Names
from sandpiper.wire.ids import PeerKey


def key(number: int) -> PeerKey:
    return PeerKey(bytes([number]) * 32)


ME, BOB, EVE, CAROL = key(0x11), key(0xB0), key(0xE5), key(0xCA)


def verified(*known: tuple[PeerKey, str]) -> Names:
    """Names in which bob is verified, and these were met after him."""
    out = Names(ME, "me")
    out.learn(BOB, "bob")
    out.pin(BOB, "bob", verified=True)
    for peer, nick in known:
        out.learn(peer, nick)
    return out


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bob", "BOB"),
        ("bob", "bоb"),  # a Cyrillic o
        ("bob", "Воb"),  # and a Cyrillic B
        ("bob", "b0b"),
        ("bob", "ｂｏｂ"),
        ("bob", "bòb"),
        ("bob", "bob✓"),
        ("bob", "bob_"),
        ("bob", "b\u200dob"),
        ("bill", "BiIl"),
        ("bill", "b1ll"),
        ("carol", "сarоl"),
        ("mark", "rnark"),
        ("wren", "vvren"),
        ("paula", "раulа"),
    ],
)
def test_nicks_that_look_alike_are_alike(one: str, other: str):
    assert likeness(one) == likeness(other)


@pytest.mark.parametrize(("one", "other"), [("bob", "rob"), ("bob", "bobby"), ("иван", "инна"), ("ann", "anna")])
def test_nicks_that_differ_to_the_eye_are_not(one: str, other: str):
    assert likeness(one) != likeness(other)


@given(st.text(min_size=1, max_size=32))
def test_whatever_somebody_is_called_is_like_itself_and_never_empty(nick: str):
    assert likeness(nick)
    assert likeness(nick) == likeness(nick.casefold()) or not nick.isascii()


def test_a_verified_nick_belongs_to_its_key_alone():
    them = verified((EVE, "bob"))
    assert (them.show(BOB), them.show(EVE)) == ("bob", "bob~e5e5")
    assert them.rival(EVE) == BOB
    assert them.rival(BOB) is None
    assert them.find("bob") == BOB


def test_a_verified_nick_is_not_free_when_its_key_is_called_something_else():
    them = verified()
    them.learn(BOB, "robert")
    them.learn(EVE, "bob")
    assert (them.show(BOB), them.show(EVE)) == ("robert", "bob~e5e5")
    assert them.rival(EVE) == BOB
    assert them.find("bob") is None, "nobody is shown by this name, so nobody is written to by it"


def test_whoever_had_the_nick_before_it_was_verified_loses_it():
    them = Names(ME, "me")
    them.learn(EVE, "bob")
    them.learn(BOB, "bob")
    assert (them.show(EVE), them.show(BOB)) == ("bob", "bob~b0b0")
    them.pin(BOB, "bob", verified=True)
    assert (them.show(EVE), them.show(BOB)) == ("bob~e5e5", "bob")
    assert them.rival(EVE) == BOB
    them.unpin(BOB)
    assert (them.show(EVE), them.show(BOB)) == ("bob", "bob~b0b0")
    assert them.rival(EVE) is None


def test_a_key_that_looks_like_a_verified_one_has_a_suffix_and_is_its_rival():
    them = verified((EVE, "bоb"))
    assert them.show(EVE) == "bоb~e5e5"
    assert them.rival(EVE) == BOB


def test_another_key_of_somebody_not_verified_is_no_rival():
    them = verified((CAROL, "carol"), (EVE, "carol"))
    assert them.show(EVE) == "carol~e5e5"
    assert them.rival(EVE) is None


def test_a_rival_that_was_accepted_stays_so_under_this_nick_only():
    them = Names(ME, "me")
    for peer, nick in ((BOB, "bob"), (CAROL, "carol")):
        them.learn(peer, nick)
        them.pin(peer, nick, verified=True)
    them.learn(EVE, "bob")
    them.pin(EVE, "bob", verified=False)
    assert them.rival(EVE) is None
    assert them.show(EVE) == "bob~e5e5", "accepted is not verified"
    them.learn(EVE, "carol")
    assert them.rival(EVE) == CAROL


def test_a_verified_key_that_takes_the_name_of_another_verified_one_is_its_rival():
    them = verified((EVE, "eve"))
    them.pin(EVE, "eve", verified=True)
    them.learn(EVE, "bob")
    assert them.rival(EVE) == BOB
    assert (them.show(BOB), them.show(EVE)) == ("bob", "bob~e5e5")


def test_two_verified_of_one_name_are_no_rivals_and_one_of_them_has_a_suffix():
    them = verified((EVE, "bob"))
    them.pin(EVE, "bob", verified=True)
    assert them.rival(EVE) is None
    assert (them.show(BOB), them.show(EVE)) == ("bob", "bob~e5e5")
    them.unpin(BOB)
    assert them.show(EVE) == "bob"
    assert them.rival(BOB) == EVE


def test_our_own_name_is_ours_whoever_is_verified_with_it():
    them = Names(ME, "me")
    them.learn(BOB, "me")
    them.pin(BOB, "me", verified=True)
    assert (them.show(ME), them.show(BOB)) == ("me", "me~b0b0")
    assert them.rival(ME) is None


def test_somebody_of_whom_only_a_nick_is_told_can_be_a_rival():
    them = verified()
    assert them.rival(EVE, "bob") == BOB
    assert them.rival(EVE, "eve") is None
    assert them.rival(EVE) is None
