"""The hub's golden vectors, checked without our code where that can be: JSON, and `cryptography` for the signature."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sandpiper.wire.hub.answers import Answer
from sandpiper.wire.hub.asks import Ask
from sandpiper.wire.hub.lines import BadLine, decode_answer, decode_chunk, encode_answers
from tests.unit.hub_vectors import kinds
from tests.unit.vectors import FOLDER

FILE = json.loads((FOLDER / "hub.json").read_text(encoding="utf-8"))
NOT_TALKED_ABOUT = {"auth", "challenge", "pong"}  # the signature has its own part; a guest's pong answers a timer


def test_lines_of_the_conversation_are_read_by_our_code_and_made_again():
    for step in FILE["conversation"]:
        (ask,) = decode_chunk(step["line"].encode() + b"\n")
        assert not isinstance(ask, BadLine)
        for lines in step["got"].values():
            for line in lines:
                assert encode_answers([decode_answer(line.encode())]) == line.encode() + b"\n"


def test_every_kind_of_line_has_a_vector():
    tags = {one.__struct_config__.tag for base in (Ask, Answer) for one in base.__subclasses__()}
    assert tags - NOT_TALKED_ABOUT <= kinds(FILE["conversation"])


def test_bad_lines_have_their_codes():
    for v in FILE["bad"]:
        (bad,) = decode_chunk(v["line"].encode("latin-1") + b"\n")
        assert isinstance(bad, BadLine)
        assert bad.code == v["code"]


def test_the_signature_holds_for_somebody_who_has_only_the_page():
    v = {name: bytes.fromhex(value) for name, value in FILE["auth"].items()}
    signed = b"sandpiper hub auth 1\x00" + v["hub"] + v["nonce"]
    Ed25519PublicKey.from_public_bytes(v["key"]).verify(v["signature"], signed)
    private = Ed25519PrivateKey.from_private_bytes(v["seed"])
    assert (private.sign(signed), private.public_key().public_bytes_raw()) == (v["signature"], v["key"])


def test_what_the_founding_guest_hears_has_the_founding_fields():
    heard = [json.loads(line) for step in FILE["conversation"] for line in step["got"].get("alice", [])]
    fields = {"nick": {"text", "ts"}, "msg": {"nick", "text", "ts"}, "notice": {"text", "ts"}, "error": {"text"}}
    for line in heard:
        assert fields.get(line["type"], set()) <= line.keys()
    assert {line["type"] for line in heard} >= {"nick", "msg", "notice"}
