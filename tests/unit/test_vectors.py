"""The golden vectors in docs/protocol/vectors: what they say is what the code does, to the byte.

Records and handshake proofs are also checked without our code: with hashlib, with `cryptography` and with a few lines
of MessagePack, as somebody would who writes another implementation from the pages.
"""

from __future__ import annotations

import hashlib
import json
from typing import TypeAlias

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sandpiper.crypto.handshake import PREAMBLE, LinkHandshake
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.noise import Handshake
from sandpiper.crypto.rooms import direct_room, open_room, room_tag
from sandpiper.crypto.signing import open_record, seal_record
from sandpiper.wire.beacon import Beacon, decode_beacon, encode_beacon
from sandpiper.wire.frames import Ping, decode_frame, encode_frame
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from tests.unit.vectors import FOLDER, VECTORS, all_beacons, all_frames, plain, text

Packed: TypeAlias = "int | bytes | str | bool | list[Packed]"


def load(name: str) -> dict[str, object]:
    loaded = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def unpack(raw: bytes, at: int = 0) -> tuple[Packed, int]:
    """MessagePack, as much of it as our protocols use: (value, where it ends)."""
    kind = raw[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind & 0xF0 == 0x90:
        return _array(raw, at, kind & 0x0F)
    if kind & 0xE0 == 0xA0:
        return raw[at : at + (kind & 0x1F)].decode(), at + (kind & 0x1F)
    if kind in (0xC2, 0xC3):
        return kind == 0xC3, at
    width = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xDC: 2}[kind]
    number = int.from_bytes(raw[at : at + width], "big")
    at += width
    match kind:
        case 0xC4 | 0xC5 | 0xC6:
            return raw[at : at + number], at + number
        case 0xD9 | 0xDA:
            return raw[at : at + number].decode(), at + number
        case 0xDC:
            return _array(raw, at, number)
        case _:
            return number, at


def _array(raw: bytes, at: int, count: int) -> tuple[list[Packed], int]:
    out: list[Packed] = []
    for _ in range(count):
        value, at = unpack(raw, at)
        out.append(value)
    return out, at


def unpack_all(raw: bytes) -> list[Packed]:
    value, end = unpack(raw)
    assert end == len(raw)
    assert isinstance(value, list)
    return value


@pytest.mark.parametrize("name", VECTORS)
def test_the_published_vectors_are_what_the_code_makes(name: str) -> None:
    published = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert published == text(name), "the wire has changed: it needs a new version, or it is a bug"


def test_every_vector_file_is_executed() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(VECTORS)


# ---------------------------------------------------------------- records


def test_record_vectors_hold_for_somebody_who_has_only_the_page() -> None:
    file = load("records")
    assert isinstance(file["records"], list)
    assert len(file["records"]) == 8
    for v in file["records"]:
        payload, signature = bytes.fromhex(v["payload"]), bytes.fromhex(v["signature"])
        version, room, author, seq, prev, deps, time, kind, body = unpack_all(payload)
        assert (version, room, author) == (1, bytes.fromhex(str(file["room"])), bytes.fromhex(v["author"]))
        assert (seq, prev, time, kind) == (v["seq"], bytes.fromhex(v["prev"]), v["time"], v["kind"])
        assert deps == [[bytes.fromhex(a), s, bytes.fromhex(i)] for a, s, i in v["deps"]]
        assert isinstance(body, list)
        assert [one.hex() if isinstance(one, bytes) else one for one in body] == list(v["body"].values())
        signed = b"sandpiper record 1\x00" + payload
        assert hashlib.sha256(signed).hexdigest() == v["id"]
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(v["author"])).verify(signature, signed)
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(v["seed"]))
        assert private.sign(signed) == signature
        assert private.public_key().public_bytes_raw().hex() == v["author"]


def test_record_vectors_are_opened_and_made_by_our_code() -> None:
    file = load("records")
    assert isinstance(file["records"], list)
    room = RoomId(bytes.fromhex(str(file["room"])))
    kinds = set()
    for v in file["records"]:
        raw = bytes.fromhex(v["signature"] + v["payload"])
        record = open_record(raw, room)
        assert (record.id.hex(), record.seq, record.time, record.body.kind) == (v["id"], v["seq"], v["time"], v["kind"])
        again = seal_record(
            Identity(bytes.fromhex(v["seed"])), room, v["seq"], RecordId(bytes.fromhex(v["prev"])), record.deps,
            v["time"], record.body,
        )  # fmt: skip
        assert again == record
        kinds.add(v["kind"])
    assert kinds == {1, 2, 3, 4, 5, 6}


# ---------------------------------------------------------------- rooms


def test_room_vectors_hold_with_and_without_our_code() -> None:
    file = load("rooms")
    assert isinstance(file["open"], list)
    assert isinstance(file["direct"], list)
    for v in file["open"]:
        room = hashlib.sha256(b"sandpiper open room 1\x00" + v["name"].encode()).digest()
        assert room.hex() == open_room(v["name"]).hex() == v["id"]
        assert hashlib.sha256(b"sandpiper room tag 1\x00" + room).digest()[:8].hex() == v["tag"]
        assert room_tag(RoomId(room)).hex() == v["tag"]
    for v in file["direct"]:
        keys = [bytes.fromhex(key) for key in v["keys"]]
        room = hashlib.sha256(b"sandpiper direct room 1\x00" + b"".join(sorted(keys))).digest()
        assert room.hex() == direct_room(PeerKey(keys[0]), PeerKey(keys[1])).hex() == v["id"]
        assert room_tag(RoomId(room)).hex() == v["tag"]


# ---------------------------------------------------------------- safety words


def test_safety_vectors_hold_for_somebody_who_has_only_the_page() -> None:
    file = load("safety")
    assert isinstance(file["safety"], list)
    said = (FOLDER.parents[2] / "src" / "sandpiper" / "crypto" / "words.txt").read_bytes()
    page = (FOLDER.parent / "safety-words.md").read_text(encoding="utf-8")
    assert hashlib.sha256(said).hexdigest() in page, "the list of words is part of the version"
    for v in file["safety"]:
        low, high = sorted(bytes.fromhex(key) for key in v["keys"])
        out = hashlib.scrypt(low + high, salt=b"sandpiper safety words 1\0", n=8192, r=8, p=1, dklen=51)
        bits = "".join(f"{byte:08b}" for byte in out[:11])
        assert v["words"] == [said.decode().split("\n")[int(bits[at : at + 11], 2)] for at in range(0, 88, 11)]
        groups = [out[at : at + 5] for at in range(11, 51, 5)]
        assert v["digits"] == [str(int.from_bytes(group, "big"))[-5:].zfill(5) for group in groups]


# ---------------------------------------------------------------- frames


def test_frame_vectors_hold_with_and_without_our_code() -> None:
    file = load("frames")
    assert isinstance(file["frames"], list)
    assert len(file["frames"]) == len(all_frames())
    for v, frame in zip(file["frames"], all_frames(), strict=True):
        raw = bytes.fromhex(v["bytes"])
        assert raw[0] == v["kind"]
        assert _hex(unpack_all(raw[1:])) == v["fields"]
        assert decode_frame(raw) == frame
        assert encode_frame(frame) == raw
        fields = [plain(getattr(frame, name)) for name in frame.__struct_fields__]
        assert fields[: len(v["fields"])] == v["fields"]
        assert not any(fields[len(v["fields"]) :]), "what is left off says nothing"
    assert len({v["frame"] for v in file["frames"]}) == 11, "a kind of frame has no vector"


def _hex(value: Packed) -> object:
    if isinstance(value, list):
        return [_hex(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value


# ---------------------------------------------------------------- beacons


def test_beacon_vectors_are_read_and_made_by_our_code() -> None:
    file = load("beacons")
    assert isinstance(file["beacons"], list)
    for v, (sent, unix_time) in zip(file["beacons"], all_beacons(), strict=True):
        got = decode_beacon(v["datagram"].encode())
        assert (got.type, got.peer_id, got.username, got.address, got.port) == (
            v["type"], v["peer_id"], v["username"], v["address"], v["port"],
        )  # fmt: skip
        assert abs(got.timestamp * 1000 - v["unix_ms"]) < (1000 if unix_time else 1)
        assert (got.sequence, got.unix_time) == (v["sequence"], v["timestamp_as_number"])
        assert (got.key.hex() if got.key else None, [tag.hex() for tag in got.rooms]) == (v["key"], v["rooms"])
        assert encode_beacon(sent, unix_time=unix_time).decode() == v["datagram"]
        assert isinstance(sent, Beacon)


# ---------------------------------------------------------------- handshake


@pytest.mark.parametrize("number", [0, 1])
def test_handshake_vectors_are_spoken_by_our_code(number: int) -> None:
    file = load("handshake")
    assert isinstance(file["handshakes"], list)
    v = file["handshakes"][number]
    psk = bytes.fromhex(v["psk"]) if v["psk"] else None
    sides = [
        LinkHandshake(
            Identity(bytes.fromhex(v[name]["seed"])),
            initiator=name == "initiator",
            secret=bytes.fromhex(v[name]["secret"]),
            psk=psk,
        )
        for name in ("initiator", "responder")
    ]
    first, second, third = (bytes.fromhex(message) for message in v["messages"])
    assert sides[0].first() == first
    assert sides[1].answer(first) == second
    assert sides[0].finish(second) == third
    sides[1].accept(third)
    assert [side.peer.hex() for side in sides] == [v["responder"]["key"], v["initiator"]["key"]]
    for sender, name in enumerate(("initiator", "responder")):
        sealed = bytes.fromhex(v["sealed_ping_1"][name])
        assert int.from_bytes(sealed[:4], "big") == len(sealed) - 4
        assert decode_frame(sides[1 - sender].ciphers()[1].decrypt(sealed[4:], sealed[:4])) == Ping(1)


def test_handshake_proofs_hold_for_somebody_who_has_only_the_page() -> None:
    file = load("handshake")
    assert isinstance(file["handshakes"], list)
    for v in file["handshakes"]:
        first, second, third = (bytes.fromhex(message) for message in v["messages"])
        mode, psk = (1, bytes.fromhex(v["psk"])) if v["psk"] else (0, None)
        assert first[0] == mode
        # Read along as the initiator, with nothing but Noise.
        secret = bytes.fromhex(v["initiator"]["secret"])
        noise = Handshake(
            initiator=True, static=secret[:32], ephemeral=secret[32:], prologue=PREAMBLE + bytes((mode,)), psk=psk
        )
        assert noise.write() == first[1:]
        proof, handshake_hash = noise.read(second)
        key, signature, *rest = unpack_all(proof)
        assert rest == [b""]
        assert isinstance(key, bytes)
        assert isinstance(signature, bytes)
        assert key.hex() == v["responder"]["key"]
        signed = b"sandpiper link 1 responder\x00" + handshake_hash
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(v["initiator"]["seed"]))

        def prove(hash_now: bytes, private: Ed25519PrivateKey = private) -> bytes:
            mine = private.public_key().public_bytes_raw()
            signature = private.sign(b"sandpiper link 1 initiator\x00" + hash_now)
            return b"\x93\xc4\x20" + mine + b"\xc4\x40" + signature + b"\xc4\x00"

        assert noise.write(prove) == third
