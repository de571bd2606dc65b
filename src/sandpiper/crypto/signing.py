"""Making and opening records: the only place where a `Record` comes from bytes of others."""

from __future__ import annotations

from hashlib import sha256

from sandpiper.crypto.identity import Identity, verify
from sandpiper.errors import TrustError, UsageError
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.limits import SIGNATURE_BYTES
from sandpiper.wire.records import AnyBody, BadRecord, Head, Record, decode_payload, encode_payload

DOMAIN = b"sandpiper record 1\x00"
"""In front of the payload in both hash and signature, so that neither means anything elsewhere."""


def record_id(raw: bytes) -> RecordId:
    """SHA-256 over domain and payload; the signature is no part of a record's name."""
    return RecordId(sha256(DOMAIN + raw[SIGNATURE_BYTES:]).digest())


def seal_record(
    identity: Identity,
    room: RoomId,
    seq: int,
    prev: RecordId,
    deps: tuple[Head, ...],
    time_ms: int,
    body: AnyBody,
) -> Record:
    """Sign a record of our own; it is read back as every peer will read it.

    Raises:
        UsageError: no peer would accept it: too long, or it names a record by something that is no id. Signing it
            would end the author's log for good.
    """
    try:
        payload = encode_payload(room, identity.key, seq, prev, deps, time_ms, body)
        raw = identity.sign(DOMAIN + payload) + payload
        return decode_payload(raw, record_id(raw))
    except (BadRecord, UnicodeEncodeError) as exc:
        raise UsageError(f"This cannot be sent: {exc}", hint="Make it shorter.", code="too_long") from exc


def open_record(raw: bytes, room: RoomId) -> Record:
    """Check and type one record that claims to belong to `room`.

    Raises:
        BadRecord: format, room or signature do not hold; the sentence says which.
    """
    record = decode_payload(raw, record_id(raw))
    if record.room != room:
        raise BadRecord("A record belongs to another room than the one it was sent for; it was dropped.")
    try:
        verify(PeerKey(record.author), raw[:SIGNATURE_BYTES], DOMAIN + raw[SIGNATURE_BYTES:])
    except TrustError as exc:
        raise BadRecord("A record's signature does not hold; it was dropped.", code="bad_signature") from exc
    return record


def open_records(raws: tuple[bytes, ...], room: RoomId) -> tuple[Record, ...]:
    """`open_record` for a whole batch; one bad record spoils it, because an honest peer never sends one."""
    return tuple(open_record(raw, room) for raw in raws)


def reopen_record(raw: bytes) -> Record:
    """Type a record from our own disk: its signature was checked before it was stored."""
    return decode_payload(raw, record_id(raw))
