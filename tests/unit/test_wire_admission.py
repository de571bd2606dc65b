"""What is said around an admission: bounded, typed, and silent about secrets."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.pretty import Pretty

from sandpiper.errors import RemoteProtocolError, TrustError
from sandpiper.wire import frames
from sandpiper.wire.admission import (
    MAX_CODE_SECONDS,
    PAKE_BYTES,
    REFUSALS,
    SALT_BYTES,
    AdmissionFrame,
    Admitted,
    Asks,
    CodeClosed,
    CodeGuessed,
    CodeOpen,
    Declined,
    Guesses,
    NotAdmitted,
    Roster,
    Settled,
    decode_admission,
    decode_answer,
    decode_opening,
    encode_admission,
    encode_answer,
    encode_opening,
    encode_refusal,
    rosters,
    unwrap,
    wrap,
)
from sandpiper.wire.frames import BadFrame
from sandpiper.wire.limits import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, MAX_FRAME_BYTES, MAX_RECORD_BYTES

ROOM, ID = b"r" * 32, b"i" * 8
ALL: tuple[AdmissionFrame, ...] = (
    Asks("alice"),
    Admitted(ROOM, b"s" * 32, "all"),
    Admitted(ROOM, b"s" * 32, "7d", b"l" * 32),
    Roster((b"genesis", b"admit"), more=True),
    Roster(()),
    Declined("room_full"),
    Settled(),
    CodeOpen(ROOM, ID, "42", ("pine", "ocean"), 1000),
    CodeOpen(
        ROOM, ID, "42", ("pine", "ocean"), 1, b"s" * 16, b"l" * 32, "relay.example:8000", (Guesses(b"m" * 32, 2),)
    ),
    CodeGuessed(ROOM, ID, (Guesses(b"m" * 32, 1),)),
    CodeClosed(ROOM, ID, "code_burnt"),
)


@pytest.mark.parametrize("frame", ALL, ids=[f"{type(frame).__name__}-{n}" for n, frame in enumerate(ALL)])
def test_every_frame_comes_back_as_it_went(frame: AdmissionFrame) -> None:
    raw = encode_admission(frame)
    assert raw[0] == frame.kind
    assert decode_admission(raw) == frame
    # Peers that know nothing of admissions ignore it, as they do every kind of a later version.
    assert isinstance(frames.decode_frame(raw), frames.UnknownFrame)


@pytest.mark.parametrize(
    "fields",
    [
        (41, [ROOM, b"s" * 31, "all"]),
        (41, [ROOM, b"s" * 32, "some"]),
        (41, [ROOM, b"s" * 32, "0"]),
        (41, [ROOM, b"s" * 32, "all\n"]),
        (41, [ROOM, b"s" * 32, "all", b"l"]),
        (42, [[b"x"] * (MAX_BATCH_RECORDS + 1)]),
        (42, [[b"x" * (MAX_RECORD_BYTES + 1)]]),
        (43, ["x" * 33]),
        (45, [ROOM, ID, "042", ["pine", "ocean"], 1]),
        (45, [ROOM, ID, "42", ["pine"], 1]),
        (45, [ROOM, ID, "42", ["pine", "ocean", "moon"], 1]),
        (45, [ROOM, ID, "42", ["pine", "\x1b[2J"], 1]),
        (45, [ROOM, ID, "42", ["pine", "ocean"], MAX_CODE_SECONDS * 1000 + 1]),
        (45, [ROOM, ID, "42", ["pine", "ocean"], -1]),
        (45, [ROOM, ID, "42", ["pine", "ocean"], 1, b"s" * 16, b""]),
        (45, [ROOM, ID, "42", ["pine", "ocean"], 1, b"", b"l" * 32]),
        (45, [ROOM, ID, "42", ["pine", "ocean"], 1, b"s" * 15, b"l" * 32]),
        (45, [ROOM, ID, "42", ["pine", "ocean"], 1, b"", b"", "a b"]),
        (45, [ROOM, ID, "42", ["pine", "ocean"], 1, b"", b"", "x" * 301]),
        (46, [ROOM, ID, [[b"m" * 32, 4]]]),
        (46, [ROOM, ID, [[b"m" * 32, 1]] * 9]),
        (46, [ROOM, b"i" * 7, []]),
        (39, []),
        (48, []),
        (1, []),
    ],
    ids=str,
)
def test_what_breaks_a_bound_is_refused_and_not_quoted(fields: tuple[int, list[object]]) -> None:
    kind, body = fields
    with pytest.raises(BadFrame) as caught:
        decode_admission(bytes((kind,)) + msgspec.msgpack.encode(body))
    assert len(str(caught.value)) < 100
    assert caught.value.__cause__ is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_refused(raw: bytes) -> None:
    for one in (raw, bytes((40 + len(raw) % 8,)) + raw):
        try:
            decode_admission(one)
        except BadFrame:
            continue


def test_an_oversized_frame_is_refused_by_its_length() -> None:
    with pytest.raises(BadFrame):
        decode_admission(bytes((42,)) * (MAX_FRAME_BYTES + 1))
    with pytest.raises(BadFrame):
        decode_admission(b"")


def test_no_repr_shows_a_secret() -> None:
    for frame in ALL:
        printed = io.StringIO()
        Console(file=printed, width=200).print(Pretty(frame))
        for shown in (repr(frame), str(frame), repr([frame]), printed.getvalue()):
            for secret in ("pine", "ocean", "ssss", "llll"):
                assert secret not in shown


def test_a_roster_is_told_in_frames_that_fit() -> None:
    for records in ([], [b"x"], [b"x" * MAX_RECORD_BYTES] * 40, [b"x"] * 1000, [b"y" * 3000] * 500):
        told = list(rosters(records))
        assert [record for frame in told for record in frame.records] == records
        assert [frame.more for frame in told] == [True] * (len(told) - 1) + [False]
        for frame in told:
            assert sum(map(len, frame.records)) <= MAX_BATCH_BYTES
            assert decode_admission(encode_admission(frame)) == frame


# ---------------------------------------------------------------- before the link


def test_an_opening_names_version_and_nameplate() -> None:
    assert encode_opening("42") == b"\x0142"
    assert decode_opening(b"\x0142") == "42"
    with pytest.raises(NotAdmitted) as caught:
        decode_opening(b"\x0242")
    assert caught.value.code == "version"
    for wrong in (
        b"",
        b"\x01",
        b"\x010",
        b"\x01042",
        b"\x014 2",
        b"\x01" + b"1" * 10,
        b"\x0142\n",
        "\x01\u0664".encode(),
    ):
        with pytest.raises(RemoteProtocolError):
            decode_opening(wrong)


def test_an_answer_carries_a_message_and_perhaps_a_salt() -> None:
    message, salt = b"B" + b"x" * 32, b"s" * SALT_BYTES
    assert decode_answer(encode_answer(message, b"")) == (message, b"")
    assert decode_answer(encode_answer(message, salt)) == (message, salt)
    for size in range(PAKE_BYTES + SALT_BYTES + 5):
        if size not in (PAKE_BYTES, PAKE_BYTES + SALT_BYTES):
            with pytest.raises(RemoteProtocolError):
                decode_answer(b"\x00" + b"x" * size)


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_every_refusal_has_its_code_its_sentence_and_its_next_step(code: str) -> None:
    with pytest.raises(NotAdmitted) as caught:
        unwrap(encode_refusal(code))
    error = caught.value
    assert isinstance(error, TrustError)
    assert error.code == code
    assert str(error).endswith(".")
    assert error.hint
    assert error.exit_code in (1, 3, 4)
    assert sum(str(NotAdmitted(other)) == str(error) for other in REFUSALS) == 1


def test_exit_codes_of_refusals() -> None:
    of = {code: NotAdmitted(code).exit_code for code in REFUSALS}
    assert of["wrong_code"] == of["code_burnt"] == of["code_expired"] == of["password_needed"] == 4
    assert of["busy"] == of["version"] == 3
    assert of["room_full"] == of["banned"] == 1


def test_the_text_of_a_refusal_is_ours_whatever_was_sent() -> None:
    for sent in (b"\x01some_later_reason", b"\x01x"):
        with pytest.raises(NotAdmitted) as caught:
            unwrap(sent)
        assert caught.value.code == "failed"
    for sent in (b"", b"\x01", b"\x02x", b"\x01\x1b[2J", b"\x01Wrong", b"\x01" + b"x" * 33, b"\x0142"):
        with pytest.raises(RemoteProtocolError):
            unwrap(sent)
    assert unwrap(wrap(b"anything")) == b"anything"
