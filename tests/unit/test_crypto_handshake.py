"""The link's handshake proves who is at the other end; whoever stands between can break it and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.crypto.handshake import MODE_XX, MODE_XXPSK0, PREAMBLE, LinkHandshake
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.noise import Handshake, HandshakeFailed
from sandpiper.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

ALICE, BOB, MALLORY = Identity(b"a" * 32), Identity(b"b" * 32), Identity(b"m" * 32)
PSK = b"p" * 32


def dialler(who: Identity = ALICE, secret: bytes = b"1" * 64, psk: bytes | None = None) -> LinkHandshake:
    return LinkHandshake(who, initiator=True, secret=secret, psk=psk)


def listener(who: Identity = BOB, secret: bytes = b"2" * 64, psk: bytes | None = None) -> LinkHandshake:
    return LinkHandshake(who, initiator=False, secret=secret, psk=psk)


def shake(one: LinkHandshake, other: LinkHandshake) -> None:
    other.accept(one.finish(other.answer(one.first())))


@pytest.mark.parametrize("psk", [None, PSK])
def test_each_side_learns_who_the_other_is_and_they_understand_each_other(psk: bytes | None) -> None:
    alice, bob = dialler(psk=psk), listener(psk=psk)
    shake(alice, bob)
    assert alice.peer == BOB.key
    assert bob.peer == ALICE.key
    (to_bob, from_bob), (to_alice, from_alice) = alice.ciphers(), bob.ciphers()
    assert from_alice.decrypt(to_bob.encrypt(b"hello bob")) == b"hello bob"
    assert from_bob.decrypt(to_alice.encrypt(b"hello alice")) == b"hello alice"


def test_nobody_is_trusted_before_the_handshake_is_over() -> None:
    alice, bob = dialler(), listener()
    with pytest.raises(HandshakeFailed):
        _ = alice.peer
    second = bob.answer(alice.first())
    with pytest.raises(HandshakeFailed):
        _ = bob.peer
    third = alice.finish(second)
    assert alice.peer == BOB.key
    with pytest.raises(HandshakeFailed):
        _ = bob.peer
    with pytest.raises(LocalProtocolError):
        bob.ciphers()
    bob.accept(third)
    assert bob.peer == ALICE.key


@pytest.mark.parametrize("which", ["first", "second", "third"])
def test_no_flipped_bit_of_any_step_goes_through(which: str) -> None:
    def run(flip: tuple[int, int] | None) -> int:
        length = 0

        def carry(name: str, message: bytes) -> bytes:
            nonlocal length
            if name != which:
                return message
            length = len(message)
            broken = bytearray(message)
            if flip is not None:
                broken[flip[0]] ^= 1 << flip[1]
            return bytes(broken)

        alice, bob = dialler(), listener()
        second = carry("second", bob.answer(carry("first", alice.first())))
        bob.accept(carry("third", alice.finish(second)))
        assert (alice.peer, bob.peer) == (BOB.key, ALICE.key)
        return length

    length = run(None)
    for position in range(length):
        for bit in range(8):
            with pytest.raises(HandshakeFailed):
                run((position, bit))


@pytest.mark.parametrize("which", ["first", "second", "third"])
def test_a_step_that_is_cut_anywhere_is_refused(which: str) -> None:
    alice, bob = dialler(), listener()
    first = alice.first()
    second = bob.answer(first)
    third = alice.finish(second)
    for length in range(len({"first": first, "second": second, "third": third}[which])):
        alice, bob = dialler(), listener()
        alice.first()
        take: Callable[[bytes], object] = bob.answer
        cut = first[:length]
        if which == "second":
            take, cut = alice.finish, second[:length]
        if which == "third":
            bob.answer(first)
            take, cut = bob.accept, third[:length]
        with pytest.raises(HandshakeFailed):
            take(cut)


@given(st.binary(max_size=300))
def test_any_bytes_as_a_step_are_refused_with_the_documented_error(raw: bytes) -> None:
    alice, bob = dialler(), listener()
    second = bob.answer(alice.first())
    with pytest.raises(HandshakeFailed):
        bob.accept(raw)
    with pytest.raises(HandshakeFailed):
        alice.finish(raw + second[:0])
    try:
        listener().answer(raw)
    except HandshakeFailed:
        return
    assert raw[0] == MODE_XX
    assert len(raw) >= 33


# ---------------------------------------------------------------- in the middle


def test_a_relay_with_keys_of_its_own_is_seen_as_itself_and_never_as_the_peer() -> None:
    # Mallory speaks to both: each handshake ends, and each side knows that it is mallory.
    alice, to_alice = dialler(ALICE), listener(MALLORY, b"3" * 64)
    shake(alice, to_alice)
    to_bob, bob = dialler(MALLORY, b"4" * 64), listener(BOB)
    shake(to_bob, bob)
    assert alice.peer == bob.peer == MALLORY.key


@pytest.mark.parametrize("step", [0, 1])
def test_a_relay_that_swaps_a_key_for_its_own_breaks_the_handshake(step: int) -> None:
    key = X25519PrivateKey.from_private_bytes(b"k" * 32).public_key().public_bytes_raw()
    alice, bob = dialler(), listener()
    first = alice.first()
    second = bob.answer(first[:1] + key + first[33:] if step == 0 else first)
    with pytest.raises(HandshakeFailed):
        alice.finish(second if step == 0 else key + second[32:])


def proof_of(who: Identity, role: bytes, handshake_hash: bytes) -> bytes:
    return msgspec.msgpack.encode([who.key, who.sign(b"sandpiper link 1 " + role + b"\x00" + handshake_hash)])


def raw_noise(*, initiator: bool) -> Handshake:
    """Mallory's own Noise: knows the pattern, says what it likes in the payloads."""
    return Handshake(initiator=initiator, static=b"s" * 32, ephemeral=b"t" * 32, prologue=PREAMBLE + bytes((MODE_XX,)))


def test_a_proof_taken_from_another_handshake_is_refused() -> None:
    # Bob proves himself to mallory; mallory shows that proof to alice.
    taken: list[bytes] = []
    mallory = raw_noise(initiator=True)
    bob = listener(BOB)
    second = bob.answer(bytes((MODE_XX,)) + mallory.write())
    taken.append(mallory.read(second)[0])
    alice = dialler(ALICE)
    fake = raw_noise(initiator=False)
    fake.read(alice.first()[1:])
    with pytest.raises(HandshakeFailed) as caught:
        alice.finish(fake.write(lambda _hash: taken[0]))
    assert caught.value.code == "bad_proof"


@pytest.mark.parametrize(
    "payload",
    [
        lambda h: proof_of(MALLORY, b"initiator", h),  # reflected: the right hash, the wrong role
        lambda h: proof_of(MALLORY, b"responder", h[::-1]),
        lambda h: msgspec.msgpack.encode([BOB.key, MALLORY.sign(b"sandpiper link 1 responder\x00" + h)]),
        lambda h: msgspec.msgpack.encode([BOB.key, bytes(64)]),
        lambda h: msgspec.msgpack.encode([BOB.key[:31], bytes(64)]),
        lambda h: msgspec.msgpack.encode([BOB.key, bytes(63)]),
        lambda h: msgspec.msgpack.encode([BOB.key]),
        lambda h: msgspec.msgpack.encode({"key": BOB.key}),
        lambda h: b"",
        lambda h: b"\xc1",
        lambda h: proof_of(MALLORY, b"responder", h) + b"\x00",
        lambda h: msgspec.msgpack.encode([*msgspec.msgpack.decode(proof_of(MALLORY, b"responder", h)), bytes(33)]),
    ],
    ids=[
        "reflected", "another hash", "another key", "no signature", "short key", "short signature", "key only",
        "no array", "empty", "no message", "trailing byte", "long field",
    ],
)  # fmt: skip
def test_a_proof_that_proves_nothing_is_refused(payload: object) -> None:
    alice, mallory = dialler(ALICE), raw_noise(initiator=False)
    mallory.read(alice.first()[1:])
    with pytest.raises(HandshakeFailed) as caught:
        alice.finish(mallory.write(payload))  # type: ignore[arg-type]
    assert caught.value.code == "bad_proof"


def test_an_honest_proof_with_fields_of_a_later_version_is_taken() -> None:
    alice, other = dialler(ALICE), raw_noise(initiator=False)
    other.read(alice.first()[1:])
    alice.finish(
        other.write(
            lambda h: msgspec.msgpack.encode(
                [*msgspec.msgpack.decode(proof_of(MALLORY, b"responder", h)), b"network", "later"]
            )
        )
    )
    assert alice.peer == MALLORY.key


def test_a_handshake_that_is_played_back_proves_nothing_to_a_fresh_listener() -> None:
    alice, bob = dialler(), listener()
    first = alice.first()
    third = alice.finish(bob.answer(first))
    bob.accept(third)
    again = listener(BOB, b"9" * 64)
    again.answer(first)
    with pytest.raises(HandshakeFailed):
        again.accept(third)


# ---------------------------------------------------------------- modes


@pytest.mark.parametrize(("first", "second"), [(None, PSK), (PSK, None), (PSK, b"q" * 32)])
def test_who_expects_a_secret_takes_nobody_without_it_and_the_other_way_round(
    first: bytes | None, second: bytes | None
) -> None:
    with pytest.raises(HandshakeFailed):
        shake(dialler(psk=first), listener(psk=second))


def test_the_mode_cannot_be_talked_down() -> None:
    # The mode byte is part of what both sides hash: swapping it breaks what follows.
    alice, bob = dialler(psk=PSK), listener()
    first = alice.first()
    assert first[0] == MODE_XXPSK0
    with pytest.raises(HandshakeFailed):
        alice.finish(bob.answer(bytes((MODE_XX,)) + first[1:]))
    for wrong in (b"", b"\x02" + first[1:], b"{"):
        with pytest.raises(HandshakeFailed) as caught:
            listener().answer(wrong)
        assert caught.value.code == "mode"


def test_a_failure_is_the_other_sides_and_ends_the_link() -> None:
    assert issubclass(HandshakeFailed, RemoteProtocolError)
