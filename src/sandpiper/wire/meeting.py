"""What peers say to each other through a rendezvous, inside its signals. Pure. Page: docs/protocol/rendezvous.md.

Under a nameplate a signal is readable: sealed with the words, it would be something to try words on. What is in it is
worth nothing to a rendezvous, which passes the bytes of the bridge on anyway. Under a remembered room's tag it is
sealed (`sandpiper.crypto.meeting`), and so are the keys in it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta, Struct

from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.limits import KEY_BYTES, MAX_VOUCH_BYTES, MAX_VOUCH_RECORDS
from sandpiper.wire.rendezvous import MAX_CANDIDATES, Candidate

BRIDGE_TOKEN_BYTES = 32  # drawn at random; a relay takes 16 to 64

_ANSWERS, _CROSS = b"\x01", b"\x02"
_HERE, _LOST, _MEET, _OFFER = b"\x01", b"\x02", b"\x03", b"\x04"
_V4, _V6 = 4, 6
_PORT_BYTES = 2

NatKind = Literal["unknown", "none", "easy", "hard"]
"""How a way to the outside maps us: it cannot be told; not at all; to one address for all; to another for each."""
_NATS: tuple[NatKind, ...] = get_args(NatKind)


class Answers(Struct, frozen=True):
    """A member, to whoever has come under a nameplate: I answer for this code."""


class CrossWith(Struct, frozen=True):
    """A joiner, to a member that answers, or will: come to the bridge of this token."""

    token: bytes


class Here(Struct, frozen=True):
    """A member of a remembered room, to another one: this is my key. `lost`: and I have no link to you. `vouch`: the
    control records that let it in, should the other one not have heard of that.
    """

    key: PeerKey
    lost: bool = False
    vouch: tuple[bytes, ...] = ()


class Meet(Struct, frozen=True):
    """A member of a remembered room, to one with a larger key: come to the bridge of this token."""

    key: PeerKey
    token: bytes


_Raw = Annotated[bytes, Meta(max_length=MAX_VOUCH_BYTES)]
_vouch_decoder: msgspec.msgpack.Decoder[tuple[bytes, ...]] = msgspec.msgpack.Decoder(
    Annotated[tuple[_Raw, ...], Meta(max_length=MAX_VOUCH_RECORDS)]
)


class Offer(Struct, frozen=True):
    """A member of a remembered room, to one that it reaches over a relay: dial me at these addresses, at the moment
    that the rendezvous gives to both of us; I have asked it for one.
    """

    key: PeerKey
    nat: NatKind
    candidates: tuple[Candidate, ...]


CodeSignal: TypeAlias = Answers | CrossWith
RoomSignal: TypeAlias = Here | Meet | Offer


class BadSignal(RemoteProtocolError):
    """A signal that is none of these."""

    code = "bad_signal"


def encode_code_signal(signal: CodeSignal) -> bytes:
    """Bytes for a peer under a nameplate."""
    return _CROSS + signal.token if isinstance(signal, CrossWith) else _ANSWERS


def decode_code_signal(raw: bytes) -> CodeSignal:
    """What a peer under a nameplate says.

    Raises:
        BadSignal: it cannot be read.
    """
    if raw == _ANSWERS:
        return Answers()
    if raw[:1] == _CROSS and len(raw) == 1 + BRIDGE_TOKEN_BYTES:
        return CrossWith(raw[1:])
    raise BadSignal("A signal under a nameplate could not be read.")


def encode_room_signal(signal: RoomSignal) -> bytes:
    """Bytes to be sealed for another member."""
    if isinstance(signal, Meet):
        return _MEET + signal.key + signal.token
    if isinstance(signal, Offer):
        addresses = b"".join(_packed(one) for one in signal.candidates[:MAX_CANDIDATES])
        return _OFFER + signal.key + bytes((_NATS.index(signal.nat),)) + addresses
    vouch = msgspec.msgpack.encode(signal.vouch) if signal.vouch else b""
    return (_LOST if signal.lost else _HERE) + signal.key + vouch


def decode_room_signal(raw: bytes) -> RoomSignal:
    """What another member says, once it is open.

    Raises:
        BadSignal: it cannot be read.
    """
    kind, key, rest = raw[:1], raw[1 : 1 + KEY_BYTES], raw[1 + KEY_BYTES :]
    if len(key) == KEY_BYTES and kind in (_HERE, _LOST):
        return Here(PeerKey(key), lost=kind == _LOST, vouch=_vouch(rest))
    if len(key) == KEY_BYTES and kind == _MEET and len(rest) == BRIDGE_TOKEN_BYTES:
        return Meet(PeerKey(key), rest)
    if len(key) == KEY_BYTES and kind == _OFFER and rest and rest[0] < len(_NATS):
        return Offer(PeerKey(key), _NATS[rest[0]], _unpacked(rest[1:]))
    raise BadSignal("A signal of a member could not be read.")


def _vouch(raw: bytes) -> tuple[bytes, ...]:
    if not raw:
        return ()
    try:
        return _vouch_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        raise BadSignal("A signal of a member could not be read.") from None


def _packed(candidate: Candidate) -> bytes:
    address = ip_address(candidate.host)
    return bytes((address.version,)) + address.packed + candidate.port.to_bytes(_PORT_BYTES, "big")


def _unpacked(raw: bytes) -> tuple[Candidate, ...]:
    """Raises: BadSignal: these are not whole addresses, or too many."""
    out: list[Candidate] = []
    while raw:
        size = {_V4: 4, _V6: 16}.get(raw[0], 0)
        end = 1 + size + _PORT_BYTES
        port = int.from_bytes(raw[1 + size : end], "big")
        if not size or len(raw) < end or not port or len(out) >= MAX_CANDIDATES:
            raise BadSignal("The addresses of a member could not be read.")
        packed = raw[1 : 1 + size]
        out.append(Candidate(str(IPv4Address(packed) if raw[0] == _V4 else IPv6Address(packed)), port))
        raw = raw[end:]
    return tuple(out)
