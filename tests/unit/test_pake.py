"""The key exchange behind codes: the same words and roles make the same key, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandpiper.crypto.noise import HandshakeFailed
from sandpiper.crypto.pake import ENTROPY_BYTES, Pake, Secret, stretch
from sandpiper.wire.admission import LOCK_BYTES, PAKE_BYTES

WORDS = ("pine", "ocean")


def joiner(words: tuple[str, str] = WORDS, plate: str = "42", lock: bytes = b"", entropy: bytes = b"j" * 64) -> Pake:
    return Pake(Secret(words, lock), plate, joiner=True, entropy=entropy)


def member(words: tuple[str, str] = WORDS, plate: str = "42", lock: bytes = b"", entropy: bytes = b"m" * 64) -> Pake:
    return Pake(Secret(words, lock), plate, joiner=False, entropy=entropy)


def test_the_same_words_make_the_same_key() -> None:
    one, other = joiner(), member()
    key = one.key(other.message)
    assert key == other.key(one.message)
    assert len(key) == 32
    assert len(one.message) == len(other.message) == PAKE_BYTES


def test_it_is_determined_by_the_entropy_that_is_given() -> None:
    assert joiner().message == joiner().message
    assert joiner().key(member().message) == joiner().key(member().message)
    assert joiner(entropy=b"k" * 64).message != joiner().message
    with pytest.raises(ValueError, match="random bytes"):
        joiner(entropy=b"x" * (ENTROPY_BYTES - 1))


@pytest.mark.parametrize(
    "other",
    [
        {"words": ("ocean", "pine")}, {"words": ("pine", "pine")}, {"words": ("pineo", "cean")},
        {"words": ("pine-ocean", "")}, {"plate": "43"}, {"lock": b"l" * 32},
    ],
    ids=str,
)  # fmt: skip
def test_anything_else_makes_another_key(other: dict[str, object]) -> None:
    one, wrong = joiner(), member(**other)  # type: ignore[arg-type]
    assert one.key(wrong.message) != wrong.key(one.message)


def test_every_exchange_makes_a_key_of_its_own() -> None:
    assert joiner().key(member().message) != joiner().key(member(entropy=b"n" * 64).message)


def test_what_travels_does_not_depend_on_the_words_in_a_way_that_can_be_checked() -> None:
    # For every message and every other pair of words there is a scalar that makes the same message of them; here it is
    # enough that the message is a point like any other, and that the words are not in it.
    for words in (WORDS, ("moon", "river")):
        message = joiner(words).message
        assert not any(word.encode() in message for word in words)
        member().key(message)


# ---------------------------------------------------------------- what is sent back, swapped or made up


def test_our_own_message_sent_back_is_refused() -> None:
    for one in (joiner(), member()):
        with pytest.raises(HandshakeFailed):
            one.key(one.message)
    other_side = {b"A": b"B", b"B": b"A"}
    for one in (joiner(), member()):  # and when it is dressed up as the other side's
        with pytest.raises(HandshakeFailed):
            one.key(other_side[one.message[:1]] + one.message[1:])


def test_two_of_one_role_make_no_key() -> None:
    for one, other in ((joiner(), joiner(entropy=b"k" * 64)), (member(), member(entropy=b"k" * 64))):
        with pytest.raises(HandshakeFailed):
            one.key(other.message)


LOW_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
]
"""Points of the orders 1, 2, 4 and 8 (as listed by libsodium, `ge25519_has_small_order`)."""


@pytest.mark.parametrize("point", LOW_ORDER)
def test_points_that_would_make_a_key_known_to_everybody_are_refused(point: str) -> None:
    with pytest.raises(HandshakeFailed):
        joiner().key(b"B" + bytes.fromhex(point))


@pytest.mark.parametrize("past", range(19))
def test_a_point_has_one_spelling(past: int) -> None:
    for sign in (0, 1 << 255):
        with pytest.raises(HandshakeFailed):
            joiner().key(b"B" + (2**255 - 19 + past + sign).to_bytes(32, "little"))


@given(st.binary(max_size=70))
@settings(max_examples=40)
def test_any_bytes_are_refused_with_the_documented_error(raw: bytes) -> None:
    with pytest.raises(HandshakeFailed):
        joiner().key(raw)
    with pytest.raises(HandshakeFailed):
        joiner().key(member().message + raw[:1] + b"\x00")


def test_no_flipped_bit_of_a_message_leads_to_the_same_key() -> None:
    key = joiner().key(member().message)
    message = member().message
    for bit in range(0, PAKE_BYTES * 8, 7):  # each costs 10 ms; all bits of the whole handshake: tests/links
        broken = bytearray(message)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            assert joiner().key(bytes(broken)) != key
        except HandshakeFailed:
            continue


def test_an_exchange_gives_one_key_only() -> None:
    one = joiner()
    one.key(member().message)
    with pytest.raises(HandshakeFailed):
        one.key(member(entropy=b"n" * 64).message)


# ---------------------------------------------------------------- passwords


def test_a_password_becomes_a_lock_by_its_salt() -> None:
    lock = stretch("correct horse", b"s" * 16)
    assert len(lock) == LOCK_BYTES
    assert stretch("correct horse", b"t" * 16) != lock
    # One person's keyboard composes letters, another's does not.
    assert stretch("caf\u00e9", b"s" * 16) == stretch("cafe\u0301", b"s" * 16)
    for salt in (b"", b"s" * 15, b"s" * 17):
        with pytest.raises(ValueError, match="16 bytes"):
            stretch("x", salt)
    with pytest.raises(ValueError, match="32 bytes"):
        Secret(WORDS, b"short")


def test_no_repr_shows_a_secret() -> None:
    secret = Secret(WORDS, b"l" * 32)
    for shown in (repr(secret), str(secret), repr(joiner())):
        assert "pine" not in shown
        assert "llll" not in shown
        assert "6c6c" not in shown
