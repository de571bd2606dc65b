"""Our own golden vectors: made here, written to docs/protocol/vectors, executed by test_vectors.py.

They change only when a protocol gets a new version: `python -m tests.unit.vectors` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from sandpiper.crypto.handshake import LinkHandshake
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import direct_room, open_room, room_tag
from sandpiper.crypto.safety import safety
from sandpiper.crypto.signing import seal_record
from sandpiper.wire.beacon import Beacon, encode_beacon
from sandpiper.wire.frames import (
    AnyFrame,
    Bye,
    Fetch,
    Heads,
    Hello,
    Ping,
    Pong,
    Presence,
    Records,
    Rooms,
    Typing,
    Want,
    encode_frame,
)
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId
from sandpiper.wire.records import AnyBody, Edit, Head, Profile, React, Record, Retract, Text, Topic
from tests.unit.admission_vectors import admission
from tests.unit.hub_vectors import hub
from tests.unit.rendezvous_vectors import rendezvous
from tests.unit.roster_vectors import roster

FOLDER = Path(__file__).parents[2] / "docs" / "protocol" / "vectors"

ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
DEV = open_room("dev")
AT = 1_750_000_000_123  # ms since 1970
SECRETS = (bytes(range(64, 128)), bytes(range(128, 192)))


def head(record: Record) -> Head:
    return Head(record.author, record.seq, record.id)


def conversation() -> list[tuple[Identity, Record]]:
    """A record of each kind, in two logs that name each other."""
    out: list[tuple[Identity, Record]] = []
    last: dict[bytes, Record] = {}

    def write(who: Identity, body: AnyBody, deps: tuple[Record, ...] = ()) -> Record:
        before = last.get(who.key)
        seq, prev = (before.seq + 1, before.id) if before else (1, NO_RECORD)
        record = seal_record(who, DEV, seq, prev, tuple(map(head, deps)), AT + 1000 * len(out), body)
        last[who.key] = record
        out.append((who, record))
        return record

    write(ALICE, Profile("alice", ""))
    hello = write(ALICE, Text("hello"))
    answer = write(BOB, Text("hi alice \U0001f426", hello.id, False), (hello,))
    write(ALICE, Text("waves", b"", True), (answer,))
    write(ALICE, Edit(hello.id, "hello everybody"))
    write(BOB, React(hello.id, "\U0001f44b", True))
    write(BOB, Topic("birds \u2013 and how they talk"))
    write(BOB, Retract(answer.id))
    return out


def body_fields(body: AnyBody) -> dict[str, object]:
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


def head_fields(place: Head) -> list[object]:
    return [place.author.hex(), place.seq, place.id.hex()]


def records() -> object:
    return {
        "page": "docs/protocol/records.md",
        "room": DEV.hex(),
        "records": [
            {
                "seed": who.seed.hex(),
                "author": record.author.hex(),
                "seq": record.seq,
                "prev": record.prev.hex(),
                "deps": [head_fields(dep) for dep in record.deps],
                "time": record.time,
                "kind": record.body.kind,
                "body": body_fields(record.body),
                "payload": record.raw[64:].hex(),
                "signature": record.raw[:64].hex(),
                "id": record.id.hex(),
            }
            for who, record in conversation()
        ],
    }


def rooms() -> object:
    names = ("dev", "lobby", "caf\u00e9", "\u65e5\u672c", "a.b-c_d+e")
    direct = direct_room(ALICE.key, BOB.key)
    return {
        "page": "docs/protocol/records.md",
        "open": [{"name": n, "id": open_room(n).hex(), "tag": room_tag(open_room(n)).hex()} for n in names],
        "direct": [
            {"keys": [ALICE.key.hex(), BOB.key.hex()], "id": direct.hex(), "tag": room_tag(direct).hex()},
            {"keys": [BOB.key.hex(), ALICE.key.hex()], "id": direct.hex(), "tag": room_tag(direct).hex()},
        ],
    }


def all_frames() -> list[AnyFrame]:
    (_, first), (_, second), *_ = conversation()
    places = (head(second), Head(BOB.key, 4, RecordId(bytes(32))))
    return [
        Hello(1, "sandpiper 1.0", "alice", AT, (room_tag(DEV),), "away", ("later",)),
        Hello(1, "sandpiper 1.0", "alice", AT, ()),
        Rooms((room_tag(DEV), room_tag(open_room("lobby")))),
        Presence("alicia", "back at five"),
        Heads(DEV, places, True),
        Heads(DEV, (), False),
        Want(DEV, places, 0),
        Want(DEV, (), 100),
        Fetch(DEV, (first.id, second.id)),
        Records(DEV, (first.raw, second.raw), 1, True),
        Records(DEV, (), 3, False),
        Ping(1),
        Pong(2**62 - 1),
        Typing(DEV),
        Bye("leaving", ""),
        Want(DEV, places, 0, AT),
        Fetch(DEV, (first.id,), AT),
        Records(DEV, (second.raw,), 1, False, AT, places),
    ]


def plain(value: object) -> object:
    """A field as JSON has it: bytes in hex, structs as arrays."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Head):
        return head_fields(value)
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return value


def said(frame: AnyFrame) -> list[object]:
    """The fields that are on the wire: later ones are left off where they say nothing."""
    count = len(msgspec.msgpack.decode(encode_frame(frame)[1:]))
    return [plain(getattr(frame, name)) for name in frame.__struct_fields__][:count]


def frames() -> object:
    return {
        "page": "docs/protocol/link.md",
        "frames": [
            {
                "frame": type(frame).__name__.lower(),
                "kind": frame.kind,
                "fields": said(frame),
                "bytes": encode_frame(frame).hex(),
            }
            for frame in all_frames()
        ],
    }


def all_beacons() -> list[tuple[Beacon, bool]]:
    tags = (room_tag(DEV), room_tag(open_room("lobby")))
    own = dict(peer_id=ALICE.key.hex()[:32], username="alice", port=8080, timestamp=AT / 1000)
    return [
        (Beacon("announce", **own, sequence=1, key=ALICE.key, rooms=tags, address="192.168.1.20"), False),  # type: ignore[arg-type]
        (Beacon("ping", **own, sequence=2, key=ALICE.key, address="fe80::1"), False),  # type: ignore[arg-type]
        (Beacon("pong", **own, sequence=3, key=ALICE.key, rooms=tags[:1]), True),  # type: ignore[arg-type]
        (Beacon("leave", "0123456789abcdef", "bob", 8081, 1_750_000_000.0, 9, address="192.168.1.30"), False),
    ]


def beacons() -> object:
    return {
        "page": "docs/protocol/beacon.md",
        "beacons": [
            {
                "type": beacon.type,
                "peer_id": beacon.peer_id,
                "username": beacon.username,
                "address": beacon.address,
                "port": beacon.port,
                "unix_ms": round(beacon.timestamp * 1000),
                "timestamp_as_number": unix_time,
                "sequence": beacon.sequence,
                "key": beacon.key.hex() if beacon.key else None,
                "rooms": [tag.hex() for tag in beacon.rooms],
                "datagram": encode_beacon(beacon, unix_time=unix_time).decode(),
            }
            for beacon, unix_time in all_beacons()
        ],
    }


def handshake() -> object:
    """Both sides' secrets, the three messages, and the first sealed frame each way."""
    cases = []
    for psk in (None, bytes(range(192, 224))):
        alice = LinkHandshake(ALICE, initiator=True, secret=SECRETS[0], psk=psk)
        bob = LinkHandshake(BOB, initiator=False, secret=SECRETS[1], psk=psk)
        first = alice.first()
        second = bob.answer(first)
        third = alice.finish(second)
        bob.accept(third)
        sealed = {}
        for name, side in (("initiator", alice), ("responder", bob)):
            frame = encode_frame(Ping(1))
            length = (len(frame) + 16).to_bytes(4, "big")
            sealed[name] = (length + side.ciphers()[0].encrypt(frame, length)).hex()
        cases.append(
            {
                "psk": psk.hex() if psk else None,
                "initiator": {"seed": ALICE.seed.hex(), "key": ALICE.key.hex(), "secret": SECRETS[0].hex()},
                "responder": {"seed": BOB.seed.hex(), "key": BOB.key.hex(), "secret": SECRETS[1].hex()},
                "messages": [first.hex(), second.hex(), third.hex()],
                "sealed_ping_1": sealed,
            }
        )
    return {"page": "docs/protocol/link.md", "handshakes": cases}


def safeties() -> object:
    """Keys of all kinds, in both orders; keys need not be points of the curve to be hashed."""
    pairs = [(ALICE.key, BOB.key), (BOB.key, ALICE.key), (PeerKey(bytes(32)), PeerKey(b"\xff" * 32))]
    return {
        "page": "docs/protocol/safety-words.md",
        "safety": [
            {"keys": [one.hex(), other.hex()], "words": list(said.words), "digits": list(said.digits)}
            for (one, other), said in [(pair, safety(*pair)) for pair in pairs]
        ],
    }


VECTORS = {
    "records": records,
    "rooms": rooms,
    "frames": frames,
    "beacons": beacons,
    "handshake": handshake,
    "safety": safeties,
    "hub": hub,
    "roster": roster,
    "rendezvous": rendezvous,
    "admission": admission,
}


def text(name: str) -> str:
    """A vector file's content."""
    return json.dumps(VECTORS[name](), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in VECTORS:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
