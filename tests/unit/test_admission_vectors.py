"""The vectors of docs/protocol/admission.md, also with libsodium's points and hashlib in the place of our code."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_scalar_reduce,
    crypto_core_ed25519_sub,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_scalarmult_ed25519_noclamp,
)

from sandpiper.crypto.codes import make_code, parse_code
from sandpiper.crypto.handshake import LinkHandshake
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.pake import Pake, Secret, stretch
from sandpiper.crypto.rooms import DAY_MS, MAX_DAY, day_of, meeting_tag, meeting_tags
from sandpiper.wire.admission import decode_admission, encode_admission, encode_refusal, unwrap, wrap
from tests.unit.admission_vectors import all_frames, fields, framed
from tests.unit.vectors import FOLDER

FILE: dict[str, Any] = json.loads((FOLDER / "admission.json").read_text(encoding="utf-8"))
PAGE = (FOLDER.parent / "admission.md").read_text(encoding="utf-8")
WORDS = (FOLDER.parents[2] / "src" / "sandpiper" / "crypto" / "words.txt").read_text(encoding="ascii").split()
M = bytes.fromhex("15cfd18e385952982b6a8f8c7854963b58e34388c8e6dae891db756481a02312")
N = bytes.fromhex("f04f2e7eb734b2a8f8b472eaf9c3c632576ac64aea650b496a8a20ff00e583c3")
ORDER = 2**252 + 27742317777372353535851937790883648493


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


# ---------------------------------------------------------------- codes


def test_code_vectors_hold_with_and_without_our_code() -> None:
    for v in FILE["codes"]["drawn"]:
        bits = int.from_bytes(raw(v["entropy"]), "big") % 2**22
        assert v["code"] == f"{WORDS[bits // 2048]}-{WORDS[bits % 2048]}-{v['nameplate']}"
        assert make_code(v["nameplate"], raw(v["entropy"])).spoken == v["code"]
    for v in FILE["codes"]["typed"]:
        assert parse_code(v["typed"]).spoken == v["code"]


# ---------------------------------------------------------------- the exchange


def scalar(number: int) -> bytes:
    return (number % ORDER).to_bytes(32, "little")


@pytest.mark.parametrize("v", FILE["exchanges"], ids=["no password", "password"])
def test_the_key_holds_for_somebody_who_has_only_the_page(v: dict[str, Any]) -> None:
    assert M.hex() in PAGE
    assert N.hex() in PAGE
    if v["password"]:
        kdf = Argon2id(salt=raw(v["salt"]), length=32, iterations=3, lanes=4, memory_cost=65536)
        assert kdf.derive(v["password"].encode()).hex() == v["lock"]
    one, other, plate = v["code"].split("-")
    password = f"sandpiper code 1\0{one}-{other}\0".encode() + raw(v["lock"])
    assert password.hex() == v["spake2_password"]
    wide = HKDF(hashes.SHA256(), length=48, salt=b"", info=b"SPAKE2 pw").derive(password)
    w = int.from_bytes(wide, "big") % ORDER
    x, y = (int.from_bytes(raw(v[side]["entropy"]), "big") % ORDER for side in ("joiner", "member"))
    shares = []
    for secret, blind in ((x, M), (y, N)):
        point = crypto_scalarmult_ed25519_base_noclamp(scalar(secret))
        shares.append(crypto_core_ed25519_add(point, crypto_scalarmult_ed25519_noclamp(scalar(w), blind)))
    _, answer, proof, *_ = (raw(message) for message in v["messages"])
    assert proof[:33] == b"A" + shares[0]
    assert answer[:34] == b"\x00B" + shares[1]
    assert answer[34:].hex() == v["salt"]
    bare = crypto_core_ed25519_sub(shares[1], crypto_scalarmult_ed25519_noclamp(scalar(w), N))
    common = crypto_scalarmult_ed25519_noclamp(scalar(x), bare)
    ids = [f"sandpiper admission 1 {role}\0{plate}".encode() for role in ("joiner", "member")]
    hashed = b"".join(hashlib.sha256(part).digest() for part in (password, *ids))
    assert hashlib.sha256(hashed + shares[0] + shares[1] + common).hexdigest() == v["psk"]
    assert crypto_core_ed25519_scalar_reduce(raw(v["joiner"]["entropy"])[::-1]) == scalar(x)


@pytest.mark.parametrize("v", FILE["exchanges"], ids=["no password", "password"])
def test_every_message_is_spoken_by_our_code(v: dict[str, Any]) -> None:
    code = parse_code(v["code"])
    lock = stretch(v["password"], raw(v["salt"])) if v["password"] else b""
    assert lock.hex() == v["lock"]
    opening, answer, proof, second, third = (raw(message) for message in v["messages"])
    assert opening == b"\x01\x01" + code.nameplate.encode()
    context = framed(opening) + framed(answer) + proof[:33]
    sides = []
    for role in ("joiner", "member"):
        pake = Pake(Secret(code.words, lock), code.nameplate, joiner=role == "joiner", entropy=raw(v[role]["entropy"]))
        psk = pake.key(answer[1:34] if role == "joiner" else proof[:33])
        assert psk.hex() == v["psk"]
        sides.append(
            LinkHandshake(
                Identity(raw(v[role]["seed"])),
                initiator=role == "joiner",
                secret=raw(v[role]["secret"]),
                psk=psk,
                context=context,
            )
        )
    jane, member = sides
    assert jane.first() == proof[33:]
    assert wrap(member.answer(proof[33:])) == second
    assert jane.finish(unwrap(second)) == third
    member.accept(third)
    sealed = raw(v["sealed_asks_jane"])
    frame = decode_admission(member.ciphers()[1].decrypt(sealed[4:], sealed[:4]))
    assert frame == all_frames()[0]


def test_frame_and_refusal_vectors() -> None:
    assert raw(FILE["refusal"]["message"]) == encode_refusal(FILE["refusal"]["code"]) == b"\x01wrong_code"
    for v, frame in zip(FILE["frames"], all_frames(), strict=True):
        assert raw(v["bytes"])[0] == v["kind"]
        assert decode_admission(raw(v["bytes"])) == frame
        assert encode_admission(frame).hex() == v["bytes"]
        assert fields(frame) == v["fields"]
    assert {v["kind"] for v in FILE["frames"]} == set(range(40, 48))


# ---------------------------------------------------------------- meeting again


def test_meeting_tags_hold_with_and_without_our_code() -> None:
    secret = raw(FILE["meeting_tags"]["secret"])
    for v in FILE["meeting_tags"]["days"]:
        said = b"sandpiper meeting tag 1\x00" + v["day"].to_bytes(4, "big")
        assert hmac.new(secret, said, "sha256").hexdigest() == meeting_tag(secret, v["day"]).hex() == v["tag"]
    for v in FILE["meeting_tags"]["moments"]:
        assert [tag.hex() for tag in meeting_tags(secret, v["ms"])] == v["tags"]
    assert [len(v["tags"]) for v in FILE["meeting_tags"]["moments"]] == [2, 2, 1, 1, 2]


def test_tags_tell_neither_the_room_nor_the_day_apart() -> None:
    tags = {meeting_tag(bytes((room,)) * 32, day) for room in range(30) for day in range(30)}
    assert len(tags) == 900
    assert all(len(tag) == 32 for tag in tags)


@pytest.mark.parametrize("hour", range(24))
def test_members_whose_clocks_differ_by_an_hour_meet_at_any_time(hour: int) -> None:
    now = 20_254 * DAY_MS + hour * 3_600_000 + 1_800_000
    for skew in (-3_600_000, -1, 0, 1, 3_600_000):
        assert set(meeting_tags(b"s" * 32, now)) & set(meeting_tags(b"s" * 32, now + skew))
    assert meeting_tags(b"s" * 32, now)[0] == meeting_tag(b"s" * 32, day_of(now)), "today's comes first"


def test_a_tag_needs_a_whole_secret_and_a_real_day() -> None:
    for secret, day in ((b"s" * 31, 1), (b"", 1), (b"s" * 32, -1), (b"s" * 32, MAX_DAY + 1)):
        with pytest.raises(ValueError, match="meeting tag"):
            meeting_tag(secret, day)
    assert len(meeting_tags(b"s" * 32, -5)) == 1
    assert len(meeting_tags(b"s" * 32, 1 << 60)) == 1
