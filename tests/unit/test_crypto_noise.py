"""Noise: the published vectors, an independent implementation, and no altered byte goes through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.crypto.noise import MAX_MESSAGE, CipherState, Handshake, HandshakeFailed
from sandpiper.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "noise.json").read_text())["vectors"]
CACOPHONY = next(v for v in VECTORS if "protocol_name" in v)
FLYNN = next(v for v in VECTORS if "handshake" in v)


def says(payload: bytes) -> Callable[[bytes], bytes]:
    return lambda _hash: payload


def pair(psk: bytes | None = None, prologue: bytes = b"") -> tuple[Handshake, Handshake]:
    initiator = Handshake(initiator=True, static=b"i" * 32, ephemeral=b"e" * 32, prologue=prologue, psk=psk)
    responder = Handshake(initiator=False, static=b"r" * 32, ephemeral=b"f" * 32, prologue=prologue, psk=psk)
    return initiator, responder


def ciphers() -> tuple[CipherState, CipherState]:
    """One direction of a finished handshake: (sending, receiving)."""
    initiator, responder = pair()
    shake(initiator, responder)
    return initiator.split()[0], responder.split()[1]


def shake(initiator: Handshake, responder: Handshake) -> None:
    responder.read(initiator.write())
    initiator.read(responder.write())
    responder.read(initiator.write())


# ---------------------------------------------------------------- published vectors


def test_the_cacophony_vector_of_xx_holds_in_every_byte() -> None:
    v = CACOPHONY
    assert v["protocol_name"] == "Noise_XX_25519_AESGCM_SHA256"
    sides = {
        side: Handshake(
            initiator=side == "init",
            static=bytes.fromhex(v[f"{side}_static"]),
            ephemeral=bytes.fromhex(v[f"{side}_ephemeral"]),
            prologue=bytes.fromhex(v[f"{side}_prologue"]),
        )
        for side in ("init", "resp")
    }
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in v["messages"]]
    for n, (payload, ciphertext) in enumerate(messages[:3]):
        writer, reader = ("init", "resp") if n % 2 == 0 else ("resp", "init")
        assert sides[writer].write(says(payload)) == ciphertext
        assert sides[reader].read(ciphertext)[0] == payload
    assert sides["init"].handshake_hash == sides["resp"].handshake_hash == bytes.fromhex(v["handshake_hash"])
    split = {side: handshake.split() for side, handshake in sides.items()}
    assert len(messages) == 6
    for n, (payload, ciphertext) in enumerate(messages[3:]):
        writer, reader = ("resp", "init") if n % 2 == 0 else ("init", "resp")
        assert split[writer][0].encrypt(payload) == ciphertext
        assert split[reader][1].decrypt(ciphertext) == payload


def test_the_flynn_vector_of_xxpsk0_holds_in_every_byte() -> None:
    v = FLYNN
    assert v["handshake"] == "Noise_XXpsk0_25519_AESGCM_SHA256"
    initiator, responder = (
        Handshake(
            initiator=side == "init",
            static=bytes.fromhex(v[f"{side}_static"]),
            ephemeral=bytes.fromhex(v[f"gen_{side}_ephemeral"]),
            prologue=bytes.fromhex(v["prologue"]),
            psk=bytes.fromhex(v["preshared_key"]),
        )
        for side in ("init", "resp")
    )
    messages = [(bytes.fromhex(v[f"msg_{n}_payload"]), bytes.fromhex(v[f"msg_{n}_ciphertext"])) for n in range(5)]
    for n, (payload, ciphertext) in enumerate(messages[:3]):
        writer, reader = (initiator, responder) if n % 2 == 0 else (responder, initiator)
        assert writer.write(says(payload)) == ciphertext
        assert reader.read(ciphertext)[0] == payload
    for n, (payload, ciphertext) in enumerate(messages[3:]):
        writer, reader = (initiator, responder) if n % 2 == 0 else (responder, initiator)
        assert writer.split()[0].encrypt(payload) == ciphertext
        assert reader.split()[1].decrypt(ciphertext) == payload


# ---------------------------------------------------------------- another implementation


@pytest.mark.parametrize("we_begin", [True, False])
@pytest.mark.parametrize("psk", [None, b"p" * 32])
def test_an_independent_implementation_understands_us_and_we_it(we_begin: bool, psk: bytes | None) -> None:
    connection = pytest.importorskip("noise.connection")
    name = b"Noise_XXpsk0_25519_AESGCM_SHA256" if psk else b"Noise_XX_25519_AESGCM_SHA256"
    theirs = connection.NoiseConnection.from_name(name)
    if psk:
        theirs.set_psks(psk)
    if we_begin:
        theirs.set_as_responder()
    else:
        theirs.set_as_initiator()
    theirs.set_prologue(b"prologue")
    theirs.set_keypair_from_private_bytes(connection.Keypair.STATIC, b"t" * 32)
    theirs.start_handshake()
    ours = Handshake(initiator=we_begin, static=b"o" * 32, ephemeral=b"e" * 32, prologue=b"prologue", psk=psk)
    for n in range(3):
        if (n % 2 == 0) == we_begin:
            assert theirs.read_message(ours.write(says(b"ours %d" % n))) == b"ours %d" % n
        else:
            assert ours.read(bytes(theirs.write_message(b"theirs %d" % n)))[0] == b"theirs %d" % n
    assert theirs.handshake_finished
    assert ours.finished
    assert ours.handshake_hash == theirs.get_handshake_hash()
    assert ours.remote_static == X25519PrivateKey.from_private_bytes(b"t" * 32).public_key().public_bytes_raw()
    sending, receiving = ours.split()
    for n in range(3):
        assert theirs.decrypt(sending.encrypt(b"%d" % n)) == b"%d" % n
        assert receiving.decrypt(bytes(theirs.encrypt(b"%d" % n))) == b"%d" % n


# ---------------------------------------------------------------- tampering


@pytest.mark.parametrize("psk", [None, b"p" * 32])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_no_flipped_bit_of_any_message_goes_through(which: int, psk: bytes | None) -> None:
    def run(flip: tuple[int, int] | None) -> int:
        sides = pair(psk)
        length = 0
        for n in range(3):
            writer, reader = (sides[0], sides[1]) if n % 2 == 0 else (sides[1], sides[0])
            message = bytearray(writer.write(says(b"payload")))
            if n == which:
                length = len(message)
                if flip is not None:
                    message[flip[0]] ^= 1 << flip[1]
            reader.read(bytes(message))
        return length

    length = run(None)
    for position in range(length):
        for bit in range(8):
            with pytest.raises(HandshakeFailed):
                run((position, bit))


def test_both_sides_must_have_the_same_prologue_and_the_same_psk() -> None:
    for other in (pair(prologue=b"x")[1], pair(psk=b"p" * 32)[1]):
        with pytest.raises(HandshakeFailed):
            shake(pair(prologue=b"y")[0], other)
    with pytest.raises(HandshakeFailed):
        shake(pair(psk=b"p" * 32)[0], pair(psk=b"q" * 32)[1])


@given(st.binary(max_size=200))
def test_any_bytes_as_a_message_are_refused_with_the_documented_error(raw: bytes) -> None:
    initiator, responder = pair()
    responder.read(initiator.write())
    with pytest.raises(HandshakeFailed):
        initiator.read(raw)
    try:
        pair()[1].read(raw)  # the first message has nothing to check yet but its length
    except HandshakeFailed:
        assert len(raw) < 32
    with pytest.raises(HandshakeFailed):
        pair(psk=b"p" * 32)[1].read(raw)


@pytest.mark.parametrize(
    "point",
    [
        bytes(32),
        b"\x01" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ],
)
def test_points_of_low_order_are_refused(point: bytes) -> None:
    _, responder = pair()
    responder.read(point)
    with pytest.raises(HandshakeFailed):
        responder.write()


# ---------------------------------------------------------------- after the handshake


def test_a_message_that_is_replayed_reordered_cut_or_altered_is_refused_and_the_right_one_still_goes_through() -> None:
    sending, receiving = ciphers()
    first, second = sending.encrypt(b"first"), sending.encrypt(b"second")
    with pytest.raises(RemoteProtocolError):
        receiving.decrypt(second)
    assert receiving.decrypt(first) == b"first"
    for bad in (first, second[:-1], second[1:], second + b"\x00", b"", bytes(16), second[:16]):
        with pytest.raises(RemoteProtocolError) as caught:
            receiving.decrypt(bad)
        assert caught.value.code == "tampered"
    for position in range(len(second)):
        with pytest.raises(RemoteProtocolError):
            receiving.decrypt(second[:position] + bytes((second[position] ^ 1,)) + second[position + 1 :])
    with pytest.raises(RemoteProtocolError):
        receiving.decrypt(second, b"other associated data")
    assert receiving.decrypt(memoryview(second)) == b"second"


def test_the_two_directions_have_different_keys() -> None:
    initiator, responder = pair()
    shake(initiator, responder)
    there, back = initiator.split()[0], initiator.split()[1]
    assert there.encrypt(b"x") != back.encrypt(b"x")
    with pytest.raises(RemoteProtocolError):  # reflected to its sender
        initiator.split()[1].decrypt(initiator.split()[0].encrypt(b"x"))


def test_a_counter_that_ran_out_stops_the_link_before_a_nonce_is_used_twice() -> None:
    sending, receiving = ciphers()
    for cipher in (sending, receiving):
        cipher._nonce = 2**64 - 2
    receiving.decrypt(sending.encrypt(b"the last one"))
    with pytest.raises(LocalProtocolError):
        sending.encrypt(b"one more")
    with pytest.raises(LocalProtocolError):
        receiving.decrypt(bytes(32))


# ---------------------------------------------------------------- our own mistakes


def test_messages_out_of_turn_are_a_bug_of_ours() -> None:
    initiator, responder = pair()
    with pytest.raises(LocalProtocolError):
        initiator.read(bytes(32))
    with pytest.raises(LocalProtocolError):
        responder.write()
    with pytest.raises(LocalProtocolError):
        initiator.split()
    with pytest.raises(LocalProtocolError):
        _ = initiator.remote_static
    shake(initiator, responder)
    assert initiator.finished
    for call in (initiator.write, responder.write, lambda: initiator.read(b""), lambda: responder.read(b"")):
        with pytest.raises(LocalProtocolError):
            call()


def test_a_message_that_noise_does_not_allow_is_never_made() -> None:
    with pytest.raises(LocalProtocolError):
        pair()[0].write(says(bytes(MAX_MESSAGE)))


def test_payloads_are_made_with_the_hash_that_the_reader_is_given() -> None:
    initiator, responder = pair()
    seen: list[bytes] = []

    def note(handshake_hash: bytes) -> bytes:
        seen.append(handshake_hash)
        return b""

    read = [responder.read(initiator.write(note))[1], initiator.read(responder.write(note))[1]]
    read.append(responder.read(initiator.write(note))[1])
    assert seen == read
    assert len(set(seen)) == 3


def test_no_secret_is_shown() -> None:
    initiator, responder = pair(psk=b"p" * 32)
    shake(initiator, responder)
    for shown in (repr(initiator), str(initiator), repr(initiator.split()[0]), repr(initiator.split())):
        for secret in (b"i" * 32, b"e" * 32, b"p" * 32, initiator._ck):
            assert repr(secret)[2:-1] not in shown
            assert secret.hex() not in shown
