"""Identities: RFC 8032 to the byte; signatures that do not hold are refused; secrets are not shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.crypto.identity import Identity, verify
from sandpiper.crypto.rooms import direct_room, open_room, plain_author, plain_message, room_tag
from sandpiper.errors import TrustError
from sandpiper.wire.ids import NO_RECORD, PeerKey, short

# RFC 8032, section 7.1: tests 1, 2, 3 and "SHA(abc)"
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e"
        "2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17a"
        "d9bef1177331a704",
    ),
]


@pytest.mark.parametrize(("seed", "key", "message", "signature"), RFC_8032, ids=["1", "2", "3", "SHA(abc)"])
def test_the_vectors_of_rfc_8032_hold(seed: str, key: str, message: str, signature: str) -> None:
    identity = Identity(bytes.fromhex(seed))
    assert identity.key.hex() == key
    assert identity.sign(bytes.fromhex(message)).hex() == signature
    verify(PeerKey(bytes.fromhex(key)), bytes.fromhex(signature), bytes.fromhex(message))


def test_a_signature_with_any_bit_flipped_is_refused() -> None:
    identity = Identity(b"s" * 32)
    signature = identity.sign(b"message")
    for position in range(64):
        for bit in range(8):
            broken = bytearray(signature)
            broken[position] ^= 1 << bit
            with pytest.raises(TrustError):
                verify(identity.key, bytes(broken), b"message")


def test_a_second_signature_made_from_a_good_one_is_refused() -> None:
    # S + L verifies, too, where S is not checked to be below the group's order (RFC 8032, section 5.1.7).
    identity = Identity(b"s" * 32)
    signature = identity.sign(b"message")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(TrustError):
        verify(identity.key, signature[:32] + s.to_bytes(32, "little"), b"message")


@given(st.binary(max_size=100), st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_as_signature_or_key_are_refused_with_the_documented_error(
    signature: bytes, key: bytes, message: bytes
) -> None:
    with pytest.raises(TrustError) as caught:
        verify(PeerKey(key), signature, message)
    assert caught.value.code == "bad_signature"
    with pytest.raises(TrustError):
        verify(Identity(b"s" * 32).key, signature, message)


def test_a_signature_of_another_message_or_by_another_key_is_refused() -> None:
    one, other = Identity(b"1" * 32), Identity(b"2" * 32)
    with pytest.raises(TrustError):
        verify(one.key, one.sign(b"yes"), b"no")
    with pytest.raises(TrustError):
        verify(one.key, other.sign(b"yes"), b"yes")


def test_bytes_cannot_move_between_a_signature_and_its_message() -> None:
    identity = Identity(b"s" * 32)
    signature = identity.sign(b"yes")
    with pytest.raises(TrustError):
        verify(identity.key, signature + b"y", b"es")


def test_an_identity_shows_its_public_half_only() -> None:
    identity = Identity(b"top secret seed, 32 bytes long!!")
    for shown in (repr(identity), str(identity), f"{identity}", repr([identity])):
        assert identity.key.hex() in shown
        assert "secret" not in shown
        assert identity.seed.hex() not in shown
    assert identity.seed == b"top secret seed, 32 bytes long!!"
    assert not hasattr(identity, "__dict__")
    assert Identity(identity.seed).key == identity.key


@pytest.mark.parametrize("seed", [b"", b"x" * 31, b"x" * 33, b"x" * 64])
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Identity(seed)


# ---------------------------------------------------------------- names derived from keys


def test_a_direct_room_is_the_same_for_both_and_another_for_anybody_else() -> None:
    a, b, c = (PeerKey(bytes((n,)) * 32) for n in range(3))
    assert direct_room(a, b) == direct_room(b, a)
    assert len({direct_room(a, b), direct_room(a, c), direct_room(b, c), direct_room(a, a)}) == 4


def test_rooms_tags_and_stand_ins_never_meet() -> None:
    names = ["", "dev", "Dev", "dev ", "a" * 32]
    rooms = [open_room(name) for name in names]
    a, b = PeerKey(b"a" * 32), PeerKey(b"b" * 32)
    ids = [*rooms, direct_room(a, b), plain_author("dev"), plain_message("dev", "1"), plain_message("dev", "2")]
    assert len(set(ids)) == len(ids)
    assert {len(i) for i in ids} == {32}
    tags = {room_tag(room) for room in rooms}
    assert len(tags) == len(rooms)
    assert {len(tag) for tag in tags} == {8}
    assert not any(room.startswith(tag) for room in rooms for tag in tags), "a tag gives away the room's id"


def test_keys_are_shown_by_their_first_eight_digits() -> None:
    assert short(bytes.fromhex("0123456789abcdef") * 4) == "01234567"
    assert short(NO_RECORD) == ""
