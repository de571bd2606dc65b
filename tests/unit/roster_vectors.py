"""Golden vectors of private rooms: a room's control records, and what they come to."""

from __future__ import annotations

from sandpiper.core.private import PrivateRoom, begin_room
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import room_tag
from sandpiper.crypto.signing import seal_record
from sandpiper.wire.ids import NO_RECORD, PeerKey
from sandpiper.wire.records import Admit, AnyBody, Leave, Record, Remove, Role, Text

OWNER, ANN, BEN, CAT = (Identity(bytes(range(n, n + 32))) for n in (0, 32, 64, 96))
AT = 1_750_000_000_123  # ms since 1970


def story() -> list[tuple[Identity, Record]]:
    """Ann becomes an admin and kicks Ben; Ben is let in again and says so in his log; Cat is banned, and lets Ben in
    at the same moment, which counts for nothing; Ann leaves.
    """
    out: list[tuple[Identity, Record]] = []
    last: dict[bytes, Record] = {}

    def write(who: Identity, body: AnyBody) -> Record:
        before = last.get(who.key)
        seq, prev = (before.seq + 1, before.id) if before else (1, NO_RECORD)
        record = seal_record(who, genesis.room, seq, prev, (), AT + 1000 * len(out), body)
        last[who.key] = record
        out.append((who, record))
        return record

    genesis = last[OWNER.key] = begin_room(OWNER, "birds", bytes(range(16)), AT, 50)
    out.append((OWNER, genesis))
    ann = write(OWNER, Admit(ANN.key, "ann", (genesis.id,)))
    ben = write(ANN, Admit(BEN.key, "ben", (ann.id,)))
    cat = write(OWNER, Admit(CAT.key, "cat", (ben.id,)))
    admin = write(OWNER, Role(ANN.key, True, (cat.id,)))
    said = write(BEN, Text("hello"))
    kick = write(ANN, Remove(BEN.key, False, (admin.id,), 1, said.id))
    write(BEN, Text("said too late"))
    ban = write(OWNER, Remove(CAT.key, True, (kick.id,)))
    write(CAT, Admit(BEN.key, "ben", (kick.id,)))
    again = write(OWNER, Admit(BEN.key, "ben", (ban.id,)))
    back = write(BEN, Admit(BEN.key, "ben", (again.id,)))
    write(BEN, Text("hello again"))
    write(ANN, Leave((back.id,)))
    return out


def room_of(records: list[Record]) -> PrivateRoom:
    """Somebody's copy of the room who was given all that."""
    room = PrivateRoom(records[0].room, PeerKey(bytes(32)))
    room.enact(record for record in records if not isinstance(record.body, Text))
    for record in (*records, *records):
        room.add(record)
    return room


def roster() -> object:
    """The file's content."""
    written = story()
    room = room_of([record for _, record in written])
    return {
        "page": "docs/protocol/roster.md",
        "room": room.id.hex(),
        "tag": room_tag(room.id).hex(),
        "records": [
            {
                "seed": who.seed.hex(),
                "kind": record.body.kind,
                "payload": record.raw[64:].hex(),
                "signature": record.raw[:64].hex(),
                "id": record.id.hex(),
                "counts": room.counts(record.author, record.seq, record.id),
            }
            for who, record in written
        ],
        "members": {key.hex(): role for key, role in sorted(room.roster.ruling.roles.items())},
        "banned": sorted(key.hex() for key in room.roster.ruling.banned),
    }
