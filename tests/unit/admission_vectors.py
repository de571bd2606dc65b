"""The vectors of docs/protocol/admission.md: made here, written by tests/unit/vectors.py."""

from __future__ import annotations

from sandpiper.crypto.codes import Code, make_code, parse_code
from sandpiper.crypto.handshake import MODE_XXPSK0, LinkHandshake
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.pake import Pake, Secret, stretch
from sandpiper.crypto.rooms import DAY_MS, meeting_tag, meeting_tags
from sandpiper.wire.admission import (
    AdmissionFrame,
    Admitted,
    Asks,
    CodeClosed,
    CodeGuessed,
    CodeOpen,
    Declined,
    Guesses,
    Roster,
    Settled,
    encode_admission,
    encode_answer,
    encode_opening,
    encode_refusal,
    wrap,
)

ROOM, SECRET, CODE_ID = bytes(range(32)), bytes(range(32, 64)), bytes(range(8))
SALT, PASSWORD = bytes(range(16)), "caf\u00e9 sesame"
JANE, MEMBER = Identity(bytes(range(64, 96))), Identity(bytes(range(96, 128)))
ENTROPY = bytes(range(64)), bytes(range(64, 128))
LINK_SECRETS = bytes(range(128, 192)), bytes(range(192, 256))


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def codes() -> object:
    entropies = {"42": "6b4c2f", "1": "000000", "999999999": "ffffff"}
    drawn = [(plate, bytes.fromhex(entropy)) for plate, entropy in entropies.items()]
    typed = ["pine-ocean-42", "42 PINE Ocean", "pine.ocea 042"]
    return {
        "drawn": [
            {"nameplate": plate, "entropy": entropy.hex(), "code": make_code(plate, entropy).spoken}
            for plate, entropy in drawn
        ],
        "typed": [{"typed": one, "code": parse_code(one).spoken} for one in typed],
    }


def exchange(code: Code, password: str) -> object:
    """All that travels until the link is made, and what both sides compute on the way."""
    lock = stretch(password, SALT) if password else b""
    secret = Secret(code.words, lock)
    joiner = Pake(secret, code.nameplate, joiner=True, entropy=ENTROPY[0])
    member = Pake(secret, code.nameplate, joiner=False, entropy=ENTROPY[1])
    opening = bytes((MODE_XXPSK0,)) + encode_opening(code.nameplate)
    answer = encode_answer(member.message, SALT if password else b"")
    psk = joiner.key(member.message)
    assert psk == member.key(joiner.message)
    context = framed(opening) + framed(answer) + joiner.message
    jane = LinkHandshake(JANE, initiator=True, secret=LINK_SECRETS[0], psk=psk, context=context)
    other = LinkHandshake(MEMBER, initiator=False, secret=LINK_SECRETS[1], psk=psk, context=context)
    first = jane.first()
    second = other.answer(first)
    third = jane.finish(second)
    other.accept(third)
    frame = encode_admission(Asks("jane"))
    length = (len(frame) + 16).to_bytes(4, "big")
    return {
        "code": code.spoken,
        "password": password,
        "salt": SALT.hex() if password else "",
        "lock": lock.hex(),
        "spake2_password": secret.reveal().hex(),
        "joiner": {"entropy": ENTROPY[0].hex(), "seed": JANE.seed.hex(), "secret": LINK_SECRETS[0].hex()},
        "member": {"entropy": ENTROPY[1].hex(), "seed": MEMBER.seed.hex(), "secret": LINK_SECRETS[1].hex()},
        "psk": psk.hex(),
        "messages": [one.hex() for one in (opening, answer, joiner.message + first, wrap(second), third)],
        "sealed_asks_jane": (length + jane.ciphers()[0].encrypt(frame, length)).hex(),
    }


def all_frames() -> list[AdmissionFrame]:
    counts = (Guesses(JANE.key, 1), Guesses(MEMBER.key, 2))
    return [
        Asks("jane"),
        Admitted(ROOM, SECRET, "all"),
        Admitted(ROOM, SECRET, "7d", bytes(32), "tls://relay.example"),
        Roster((b"genesis", b"admit"), more=True),
        Declined("room_full"),
        Settled(),
        CodeOpen(ROOM, CODE_ID, "42", ("pine", "ocean"), 86_400_000),
        CodeOpen(ROOM, CODE_ID, "42", ("pine", "ocean"), 1, SALT, bytes(32), "relay.example:8000", counts, (ROOM,)),
        CodeGuessed(ROOM, CODE_ID, counts),
        CodeClosed(ROOM, CODE_ID, "code_burnt"),
    ]


def fields(frame: AdmissionFrame) -> object:
    """As JSON has it: bytes in hex, structs as arrays."""
    return [_plain(getattr(frame, name)) for name in frame.__struct_fields__]


def _plain(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case tuple():
            return [_plain(one) for one in value]
        case Guesses(member=member, wrong=wrong):
            return [member.hex(), wrong]
        case _:
            return value


def admission() -> object:
    days = [0, 1, 20_254, 20_255, (1 << 32) - 1]
    moments = [20_254 * DAY_MS + ms for ms in (0, 3_599_999, 3_600_000, 43_200_000, 82_800_000)]
    return {
        "page": "docs/protocol/admission.md",
        "codes": codes(),
        "exchanges": [exchange(Code("42", ("pine", "ocean")), password) for password in ("", PASSWORD)],
        "refusal": {"code": "wrong_code", "message": encode_refusal("wrong_code").hex()},
        "frames": [
            {
                "frame": type(frame).__name__.lower(),
                "kind": frame.kind,
                "fields": fields(frame),
                "bytes": encode_admission(frame).hex(),
            }
            for frame in all_frames()
        ],
        "meeting_tags": {
            "secret": SECRET.hex(),
            "days": [{"day": day, "tag": meeting_tag(SECRET, day).hex()} for day in days],
            "moments": [{"ms": ms, "tags": [tag.hex() for tag in meeting_tags(SECRET, ms)]} for ms in moments],
        },
    }
