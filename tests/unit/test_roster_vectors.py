"""The golden vectors of private rooms, for our code and for somebody who has only the page."""

from __future__ import annotations

import hashlib
import json
import random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandpiper.crypto.signing import open_record
from sandpiper.wire.ids import RoomId
from sandpiper.wire.records import Text
from tests.unit.roster_vectors import ANN, BEN, CAT, OWNER, room_of
from tests.unit.test_vectors import unpack_all
from tests.unit.vectors import FOLDER


def test_roster_vectors_hold_for_somebody_who_has_only_the_page() -> None:
    file = json.loads((FOLDER / "roster.json").read_text(encoding="utf-8"))
    assert {v["kind"] for v in file["records"]} == {1, 16, 17, 18, 19, 20}
    for n, v in enumerate(file["records"]):
        signed = b"sandpiper record 1\x00" + bytes.fromhex(v["payload"])
        assert hashlib.sha256(signed).hexdigest() == v["id"]
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(v["seed"]))
        assert private.sign(signed).hex() == v["signature"]
        _, room, _, seq, prev, *_ = unpack_all(bytes.fromhex(v["payload"]))
        assert isinstance(room, bytes)
        if n == 0:
            assert (room, seq, prev, v["id"]) == (bytes(32), 1, b"", file["room"])
        else:
            assert room.hex() == file["room"]
    tag = hashlib.sha256(b"sandpiper room tag 1\x00" + bytes.fromhex(file["room"])).digest()[:8]
    assert tag.hex() == file["tag"]


def test_roster_vectors_come_to_what_they_say_in_any_order() -> None:
    file = json.loads((FOLDER / "roster.json").read_text(encoding="utf-8"))
    room_id = RoomId(bytes.fromhex(file["room"]))
    records = [open_record(bytes.fromhex(v["signature"] + v["payload"]), room_id) for v in file["records"]]
    counts = {v["id"]: v["counts"] for v in file["records"]}
    shuffled = random.Random(1)
    for _ in range(20):
        room = room_of(records)
        assert {key.hex(): role for key, role in room.roster.ruling.roles.items()} == file["members"]
        assert {key.hex() for key in room.roster.ruling.banned} == set(file["banned"])
        for record in records:
            assert room.counts(record.author, record.seq, record.id) == counts[record.id.hex()]
        shuffled.shuffle(records)
    said = {record.body.text: counts[record.id.hex()] for record in records if isinstance(record.body, Text)}
    assert said == {"hello": True, "said too late": False, "hello again": True}
    assert set(file["members"]) == {OWNER.key.hex(), BEN.key.hex()}
    assert ANN.key.hex() not in file["members"]
    assert file["banned"] == [CAT.key.hex()]
