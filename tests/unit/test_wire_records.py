"""Records: signed, chained, bound to their room and author; a record with any byte changed is refused."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import open_room
from sandpiper.crypto.signing import open_record, open_records, record_id, reopen_record, seal_record
from sandpiper.errors import UsageError
from sandpiper.wire.ids import NO_RECORD, PeerKey, RecordId
from sandpiper.wire.limits import (
    MAX_DEPS,
    MAX_RECORD_BYTES,
    MAX_SEQ,
    MAX_TEXT_CHARS,
    MAX_TIME_MS,
    SIGNATURE_BYTES,
)
from sandpiper.wire.records import (
    AnyBody,
    BadRecord,
    Edit,
    Head,
    Profile,
    React,
    Record,
    Retract,
    Text,
    Topic,
    Unknown,
    decode_payload,
    encode_payload,
)

ROOM, ELSEWHERE = open_room("dev"), open_room("elsewhere")
ALICE, BOB = Identity(b"a" * 32), Identity(b"b" * 32)
ID, OTHER = RecordId(bytes(range(32))), RecordId(bytes(32))

ids = st.binary(min_size=32, max_size=32).map(RecordId)
clean = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=30)
bodies: st.SearchStrategy[AnyBody] = st.one_of(
    st.builds(Text, clean, st.just(b"") | ids, st.booleans()),
    st.builds(Edit, ids, clean),
    st.builds(Retract, ids),
    st.builds(React, ids, st.sampled_from("👍🎉x"), st.booleans()),
    st.builds(Topic, clean),
    st.builds(Profile, st.sampled_from(("alice", "鈴木")), clean),
)


HELLO = Text("hello")


def sealed(body: AnyBody = HELLO, **fields: object) -> Record:
    values = {"identity": ALICE, "room": ROOM, "seq": 2, "prev": ID, "deps": (), "time_ms": 1_750_000_000_000}
    return seal_record(**{**values, "body": body, **fields})  # type: ignore[arg-type]


def signed(payload: bytes, identity: Identity = ALICE) -> bytes:
    """Raw bytes whose signature holds, whatever the payload is."""
    return identity.sign(b"sandpiper record 1\x00" + payload) + payload


def payload_of(**fields: object) -> bytes:
    """A payload with some fields replaced, by place in the array."""
    places = ("version", "room", "author", "seq", "prev", "deps", "time", "kind", "body")
    values = [1, ROOM, ALICE.key, 2, ID, [], 5, 1, ["hi"]]
    for name, value in fields.items():
        values[places.index(name)] = value
    return msgspec.msgpack.encode(values)


@given(
    bodies,
    st.integers(2, MAX_SEQ),
    ids,
    st.lists(st.builds(Head, st.just(BOB.key), st.integers(1, MAX_SEQ), ids), max_size=MAX_DEPS).map(tuple),
    st.integers(0, MAX_TIME_MS),
)
def test_a_record_comes_out_as_it_went_in(
    body: AnyBody, seq: int, prev: RecordId, deps: tuple[Head, ...], time: int
) -> None:
    made = seal_record(ALICE, ROOM, seq, prev, deps, time, body)
    opened = open_record(made.raw, ROOM)
    assert opened == made == reopen_record(made.raw)
    assert (opened.author, opened.room, opened.seq, opened.prev) == (ALICE.key, ROOM, seq, prev)
    assert (opened.deps, opened.time, opened.body) == (deps, time, body)
    assert opened.id == hashlib.sha256(b"sandpiper record 1\x00" + made.raw[SIGNATURE_BYTES:]).digest()


def test_the_signature_is_plain_ed25519_over_domain_and_payload() -> None:
    raw = sealed().raw
    key = Ed25519PublicKey.from_public_bytes(ALICE.key)  # another implementation than ours
    key.verify(raw[:64], b"sandpiper record 1\x00" + raw[64:])


def test_a_record_with_any_bit_flipped_is_refused() -> None:
    raw = sealed(Text("hello", ID, True), deps=(Head(BOB.key, 3, OTHER),)).raw
    for position in range(len(raw)):
        for bit in range(8):
            broken = bytearray(raw)
            broken[position] ^= 1 << bit
            with pytest.raises(BadRecord):
                open_record(bytes(broken), ROOM)


def test_a_record_cut_or_lengthened_anywhere_is_refused() -> None:
    raw = sealed().raw
    for length in range(len(raw)):
        with pytest.raises(BadRecord):
            open_record(raw[:length], ROOM)
    with pytest.raises(BadRecord):
        open_record(raw + b"\x00", ROOM)
    with pytest.raises(BadRecord):
        open_record(b"\x00" + raw, ROOM)


def test_a_record_signed_by_another_than_its_author_is_refused() -> None:
    payload = encode_payload(ROOM, BOB.key, 2, ID, (), 5, Text("I am bob"))
    with pytest.raises(BadRecord) as caught:
        open_record(signed(payload, ALICE), ROOM)
    assert caught.value.code == "bad_signature"


def test_a_record_of_another_room_is_refused() -> None:
    with pytest.raises(BadRecord):
        open_record(sealed(room=ELSEWHERE).raw, ROOM)


def test_the_same_signature_means_nothing_in_another_domain() -> None:
    payload = encode_payload(ROOM, ALICE.key, 2, ID, (), 5, Text("hello"))
    with pytest.raises(BadRecord):
        open_record(ALICE.sign(payload) + payload, ROOM)


def test_one_bad_record_spoils_its_batch() -> None:
    good, bad = sealed().raw, bytearray(sealed().raw)
    bad[3] ^= 1
    assert [r.raw for r in open_records((good, good), ROOM)] == [good, good]
    with pytest.raises(BadRecord):
        open_records((good, bytes(bad)), ROOM)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_with_the_documented_error(raw: bytes) -> None:
    with pytest.raises(BadRecord):
        open_record(raw, ROOM)


@given(st.binary(max_size=300))
def test_any_payload_with_a_good_signature_is_a_record_or_refused(payload: bytes) -> None:
    try:
        open_record(signed(payload), ROOM)
    except BadRecord:
        return


@given(st.data())
def test_a_valid_payload_damaged_and_signed_again_is_a_record_or_refused(data: st.DataObject) -> None:
    payload = bytearray(sealed(data.draw(bodies), deps=(Head(BOB.key, 1, OTHER),)).raw[64:])
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        record = open_record(signed(bytes(payload)), ROOM)
    except BadRecord:
        return
    assert record.room == ROOM
    assert record.id == record_id(signed(bytes(payload)))


# ---------------------------------------------------------------- fields that contradict the format


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2},
        {"version": 0},
        {"room": b"short"},
        {"author": b"short"},
        {"seq": 0},
        {"seq": MAX_SEQ + 1},
        {"seq": "2"},
        {"prev": b""},  # seq 2 without the record before it
        {"seq": 1},  # seq 1 with a record before it
        {"prev": b"x" * 31},
        {"prev": b"x" * 33},
        {"deps": [[BOB.key, 1, OTHER]] * (MAX_DEPS + 1)},
        {"deps": [[BOB.key, 0, OTHER]]},
        {"deps": [[BOB.key, 1, b"short"]]},
        {"deps": [[ALICE.key, 1, OTHER]]},  # names its own author as another
        {"deps": 5},
        {"time": -1},
        {"time": MAX_TIME_MS + 1},
        {"time": 1.5},
        {"kind": -1},
        {"kind": 65536},
        {"body": 5},
        {"body": []},
        {"body": ["x" * (4 * MAX_TEXT_CHARS + 1)]},
        {"body": ["hi", b"x" * 31]},  # reply_to is no id
        {"body": ["hi", b"x" * 33]},
        {"kind": 2, "body": [b"short", "text"]},
        {"kind": 3, "body": [b""]},
        {"kind": 4, "body": [ID, "x" * 129]},
        {"kind": 5, "body": ["x" * 1201]},
        {"kind": 6, "body": ["x" * 129]},
        {"kind": 6, "body": ["x", "y" * 401]},
    ],
)
def test_a_well_signed_record_that_breaks_the_format_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadRecord):
        open_record(signed(payload_of(**fields)), ROOM)


def test_a_record_of_another_version_says_to_update() -> None:
    with pytest.raises(BadRecord) as caught:
        open_record(signed(payload_of(version=2)), ROOM)
    assert caught.value.code == "version"
    assert "Update" in caught.value.hint


@pytest.mark.parametrize("kind", [0, 7, 15, 21, 65535])
def test_kinds_of_later_versions_are_kept_as_they_are(kind: int) -> None:
    raw = signed(payload_of(kind=kind, body={"any": ["thing", 1.5]}))
    record = open_record(raw, ROOM)
    assert record.body == Unknown(kind)
    assert record.raw == raw


def test_fields_of_later_versions_are_ignored() -> None:
    payload = msgspec.msgpack.encode([1, ROOM, ALICE.key, 1, b"", [], 5, 5, ["topic", "new field"], "another"])
    assert open_record(signed(payload), ROOM).body == Topic("topic")


def test_deep_nesting_in_an_unknown_body_is_refused_and_not_followed() -> None:
    payload = payload_of(kind=77, body=0)[:-1] + b"\x91" * 60_000
    with pytest.raises(BadRecord):
        open_record(signed(payload), ROOM)


def test_the_size_of_a_record_is_bounded() -> None:
    with pytest.raises(BadRecord):
        decode_payload(bytes(MAX_RECORD_BYTES + 1), ID)
    with pytest.raises(BadRecord):
        decode_payload(bytes(SIGNATURE_BYTES), ID)


def test_the_longest_message_fits_one_record() -> None:
    record = sealed(Text("\U0001f426" * MAX_TEXT_CHARS, ID), deps=(Head(BOB.key, MAX_SEQ, OTHER),) * MAX_DEPS)
    assert len(record.raw) <= MAX_RECORD_BYTES
    assert open_record(record.raw, ROOM).body == Text("\U0001f426" * MAX_TEXT_CHARS, ID)


def test_a_record_that_would_be_too_long_is_a_bug_of_ours_and_never_signed() -> None:
    with pytest.raises(UsageError):
        sealed(Text("\U0001f426" * 2 * MAX_TEXT_CHARS))


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (Text("\x1b[31m" + "x" * 20_000), Text(("␛[31m" + "x" * 20_000)[: MAX_TEXT_CHARS - 1] + "…")),
        (Edit(ID, "a\u202eb"), Edit(ID, "ab")),
        (React(ID, "\x07"), React(ID, "␇")),
        (Topic("two\nlines"), Topic("two lines")),
        (Profile("@\x1broot", "\u200baway\n"), Profile("␛root", "away")),
    ],
)
def test_what_people_will_see_is_safe_and_what_was_signed_is_kept(body: AnyBody, shown: AnyBody) -> None:
    raw = signed(encode_payload(ROOM, ALICE.key, 2, ID, (), 5, body))
    record = open_record(raw, ROOM)
    assert record.body == shown
    assert record.raw == raw


def test_the_first_record_of_a_log_has_nothing_before_it() -> None:
    record = seal_record(ALICE, ROOM, 1, NO_RECORD, (), 5, Text("first"))
    assert open_record(record.raw, ROOM).prev == b""


def test_the_same_content_twice_has_the_same_name_and_a_changed_one_another() -> None:
    assert sealed().id == sealed().id
    others = [sealed(Text("hell0")), sealed(seq=3), sealed(time_ms=1), sealed(identity=BOB), sealed(prev=OTHER)]
    assert len({record.id for record in (sealed(), *others)}) == 6


def test_keys_that_are_no_points_verify_nothing() -> None:
    for key in (bytes(32), b"\x01" + bytes(31), b"\xff" * 32):
        payload = encode_payload(ROOM, PeerKey(key), 1, NO_RECORD, (), 5, Text("forged"))
        for signature in (bytes(64), b"\x01" + bytes(63), key + bytes(32)):
            with pytest.raises(BadRecord):
                open_record(signature + payload, ROOM)


@pytest.mark.parametrize(
    "body",
    [
        Text("x" * (4 * MAX_TEXT_CHARS + 1)),
        Profile("n" * 129),
        Topic("t" * 1201),
        React(ID, "e" * 129),
        Text("x", b"5"),
    ],
    ids=["text", "nick", "topic", "emoji", "reply_to"],
)
def test_what_others_would_refuse_is_never_signed(body: AnyBody) -> None:
    # Such a record would cut its author off for ever: nobody takes it, and nothing after it without it.
    with pytest.raises(UsageError):
        sealed(body)
