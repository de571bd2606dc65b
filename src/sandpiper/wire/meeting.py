"""What peers say to each other through a rendezvous, inside its signals. Pure. Page: docs/protocol/rendezvous.md.

Under a nameplate a signal is readable: sealed with the words, it would be something to try words on. What is in it is
worth nothing to a rendezvous, which passes the bytes of the bridge on anyway. Under a remembered room's tag it is
sealed (`sandpiper.crypto.meeting`), and so are the keys in it.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.limits import KEY_BYTES

BRIDGE_TOKEN_BYTES = 32  # drawn at random; a relay takes 16 to 64

_ANSWERS, _CROSS = b"\x01", b"\x02"
_HERE, _LOST, _MEET = b"\x01", b"\x02", b"\x03"


class Answers(Struct, frozen=True):
    """A member, to whoever has come under a nameplate: I answer for this code."""


class CrossWith(Struct, frozen=True):
    """A joiner, to a member that answers: come to the bridge of this token."""

    token: bytes


class Here(Struct, frozen=True):
    """A member of a remembered room, to another one: this is my key. `lost`: and I have no link to you."""

    key: PeerKey
    lost: bool = False


class Meet(Struct, frozen=True):
    """A member of a remembered room, to one with a larger key: come to the bridge of this token."""

    key: PeerKey
    token: bytes


CodeSignal: TypeAlias = Answers | CrossWith
RoomSignal: TypeAlias = Here | Meet


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
    return (_LOST if signal.lost else _HERE) + signal.key


def decode_room_signal(raw: bytes) -> RoomSignal:
    """What another member says, once it is open.

    Raises:
        BadSignal: it cannot be read.
    """
    kind, key, rest = raw[:1], raw[1 : 1 + KEY_BYTES], raw[1 + KEY_BYTES :]
    if len(key) == KEY_BYTES and kind in (_HERE, _LOST) and not rest:
        return Here(PeerKey(key), lost=kind == _LOST)
    if len(key) == KEY_BYTES and kind == _MEET and len(rest) == BRIDGE_TOKEN_BYTES:
        return Meet(PeerKey(key), rest)
    raise BadSignal("A signal of a member could not be read.")
