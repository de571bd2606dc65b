"""Lines between a peer and a rendezvous or relay. Pure. Page: docs/protocol/rendezvous.md."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.limits import MAX_LINE_BYTES
from sandpiper.wire.text import clean_line

VERSION = 1

# --- bounds, each with its reason ---
MAX_CODE_DIGITS = 9  # a thousand million rooms at once: more than a process holds
TAG_BYTES = 32  # a SHA-256 that only those who know the room can compute
MAX_TOKEN_BYTES, MIN_TOKEN_BYTES = 64, 16  # 128 random bits cannot be guessed; a hash of 512 bits fits
MAX_SIGNAL_BYTES = 16 * 1024  # sealed: a handshake message, a list of addresses; far below a line in base64
MAX_CANDIDATES = 16  # addresses of one peer: a machine with four interfaces has four times v4, v6 and mapped ones
MAX_HOST_CHARS = 64  # an IPv6 address with its zone
MAX_PEERS = 128  # of one room, on one rendezvous; members of a larger room reach the others through these
MAX_ID_CHARS = 32
MAX_TEXT_CHARS = 500  # a sentence of a rendezvous

_CODE = re.compile(rf"[1-9][0-9]{{0,{MAX_CODE_DIGITS - 1}}}")

Code: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_CODE_DIGITS, pattern=r"^[1-9][0-9]*\Z")]
"""A nameplate: the digits of a room's code, never its words."""
Tag: TypeAlias = Annotated[bytes, Meta(min_length=TAG_BYTES, max_length=TAG_BYTES)]
Token: TypeAlias = Annotated[bytes, Meta(min_length=MIN_TOKEN_BYTES, max_length=MAX_TOKEN_BYTES)]
Sealed: TypeAlias = Annotated[bytes, Meta(max_length=MAX_SIGNAL_BYTES)]
PeerId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS, pattern=r"^[0-9a-zA-Z_-]+\Z")]
Host: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_HOST_CHARS, pattern=r"^[0-9a-zA-Z:.%_-]+\Z")]
Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
Millis: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 48)]
Number: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]  # what every JSON library keeps exactly


class _Line(Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """A line; unknown keys in it are ignored."""


class _Ask(_Line, frozen=True, omit_defaults=True, kw_only=True):
    v: int = VERSION
    """Major version; another than ours is refused."""


class Candidate(Struct, frozen=True):
    """An address at which a peer might be reached."""

    host: Host
    port: Port


# ---------------------------------------------------------------- what peers ask


class CreateRoom(_Ask, frozen=True, omit_defaults=True, kw_only=True, tag="create_room"):
    """Give me a nameplate: the shortest that is free, or this one again after the rendezvous has forgotten it."""

    code: Code | UnsetType = UNSET


class RegisterPeer(_Ask, frozen=True, omit_defaults=True, kw_only=True, tag="register_peer"):
    """I am in the room with this nameplate, or the remembered room with this tag: exactly one of them."""

    code: Code | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class LeaveRoom(_Ask, frozen=True, omit_defaults=True, kw_only=True, tag="leave_room"):
    """I am in it no longer; names it as `RegisterPeer`."""

    code: Code | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class LookupRoom(_Ask, frozen=True, omit_defaults=True, kw_only=True, tag="lookup_room"):
    """Who is there? Names it as `RegisterPeer`."""

    code: Code | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class Observe(_Ask, frozen=True, omit_defaults=True, kw_only=True, tag="observe"):
    """From where do you see me?"""


class Bridge(_Ask, frozen=True, omit_defaults=True, kw_only=True, tag="bridge"):
    """Splice this connection with the other one that gives the same token."""

    token: Token


class Coordinate(_Ask, frozen=True, kw_only=True, tag="coordinate_connection"):
    """I want to dial `peer` at the moment when it dials me. Nothing happens before it has said the same."""

    peer: PeerId
    candidates: Annotated[tuple[Candidate, ...], Meta(max_length=MAX_CANDIDATES)] = ()


class Signal(_Ask, frozen=True, kw_only=True, tag="signal"):
    """Give these sealed bytes to one peer."""

    to: PeerId
    data: Sealed


class Ping(_Line, frozen=True, kw_only=True, tag="ping"):
    """Both ways; answered at once with `Pong`."""

    n: Number = 0


class Pong(_Line, frozen=True, kw_only=True, tag="pong"):
    """The same number back."""

    n: Number = 0


# ---------------------------------------------------------------- what a rendezvous says


class RoomCreated(_Line, frozen=True, kw_only=True, tag="room_created"):
    """The nameplate is yours to give away until `expires_at` (Unix seconds)."""

    code: Code
    expires_at: Number


class PeerRegistered(_Line, frozen=True, omit_defaults=True, kw_only=True, tag="peer_registered"):
    """You are `peer` there; `peers` are the others. `expires_at` (Unix seconds) is the nameplate's end."""

    peer: PeerId
    peers: Annotated[tuple[PeerId, ...], Meta(max_length=MAX_PEERS)] = ()
    code: Code | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET
    expires_at: Number = 0


class RoomInfo(_Line, frozen=True, omit_defaults=True, kw_only=True, tag="room_info"):
    """Who is there; nobody: the room is not known, or empty."""

    peers: Annotated[tuple[PeerId, ...], Meta(max_length=MAX_PEERS)] = ()
    code: Code | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class PeerJoined(_Line, frozen=True, omit_defaults=True, kw_only=True, tag="peer_joined"):
    """Somebody has registered in a room where you are."""

    peer: PeerId
    code: Code | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class PeerLeft(_Line, frozen=True, omit_defaults=True, kw_only=True, tag="peer_left"):
    """Somebody is there no longer."""

    peer: PeerId
    code: Code | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class RoomExpired(_Line, frozen=True, kw_only=True, tag="room_expired"):
    """The nameplate is used up, and nobody is registered under it any more."""

    code: Code


class Coordinated(_Line, frozen=True, kw_only=True, tag="coordinate_connection"):
    """Both have asked: dial `candidates` of `peer`, `start_in` milliseconds after this line has come."""

    peer: PeerId
    candidates: Annotated[tuple[Candidate, ...], Meta(max_length=MAX_CANDIDATES + 1)]
    start_in: Millis


class Signalled(_Line, frozen=True, kw_only=True, tag="signal"):
    """Sealed bytes of one peer."""

    sender: PeerId = field(name="from")
    data: Sealed


class Observed(_Line, frozen=True, omit_defaults=True, kw_only=True, tag="observed"):
    """Your address as seen here. With `tunnel` it is that of a program in front of the rendezvous, and tells nothing.
    `second_port` (0: none) may be asked as well; `relay`: it splices connections, too. `time` is in ms since 1970 by
    the clock of the rendezvous; 0: it does not say.
    """

    host: Host
    port: Port
    tunnel: bool = False
    relay: bool = False
    second_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    time: Millis = 0
    v: int = VERSION


class Bridged(_Line, frozen=True, kw_only=True, tag="bridged"):
    """The other one is there: from now on this connection is its bytes, and nothing else."""


class Closing(_Line, frozen=True, kw_only=True, tag="closing"):
    """The rendezvous ends or begins anew: register again after `again_in` seconds and a random while."""

    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] = ""
    again_in: Annotated[float, Meta(ge=0, le=3600)] = 0.0


class Refusal(_Line, frozen=True, omit_defaults=True, kw_only=True, tag="error"):
    """Something was not done. `code` is for programs (see the page), `text` for people, `again_in` seconds; `about`
    is the type of what was asked, `room` or `peer` what it was about.
    """

    code: Annotated[str, Meta(max_length=40)]
    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] = ""
    about: Annotated[str, Meta(max_length=40)] = ""
    room: Annotated[str, Meta(max_length=64)] = ""
    peer: Annotated[str, Meta(max_length=MAX_ID_CHARS)] = ""
    again_in: Annotated[float, Meta(ge=0, le=86400)] = 0.0


AnyAsk: TypeAlias = (
    CreateRoom | RegisterPeer | LeaveRoom | LookupRoom | Observe | Bridge | Coordinate | Signal | Ping | Pong
)
AnyWord: TypeAlias = (
    RoomCreated
    | PeerRegistered
    | RoomInfo
    | PeerJoined
    | PeerLeft
    | RoomExpired
    | Coordinated
    | Signalled
    | Observed
    | Bridged
    | Closing
    | Refusal
    | Ping
    | Pong
)

OPENINGS = frozenset(
    (
        "create_room",
        "register_peer",
        "leave_room",
        "lookup_room",
        "observe",
        "bridge",
        "coordinate_connection",
        "signal",
    )
)
"""Types that a chat does not know: whoever begins with one of them wants a rendezvous."""


class BadAsk(RemoteProtocolError):
    """A line of a peer that could not be read. `code`: line_too_long, not_json, not_utf8, not_valid, unknown_type,
    nested_too_deep, version.
    """

    code = "not_valid"


class BadWord(RemoteProtocolError):
    """A line of a rendezvous that could not be read."""

    code = "bad_line"


class _Type(Struct):
    type: str = ""


_asks: msgspec.json.Decoder[AnyAsk] = msgspec.json.Decoder(AnyAsk)
_words: msgspec.json.Decoder[AnyWord] = msgspec.json.Decoder(AnyWord)
_types: msgspec.json.Decoder[_Type] = msgspec.json.Decoder(_Type)
_encoder = msgspec.json.Encoder()
_WRONG = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def encode_line(line: AnyAsk | AnyWord) -> bytes:
    """One line with its newline."""
    return _encoder.encode(line) + b"\n"


def opens_rendezvous(line: bytes) -> bool:
    """Whether a first line is for a rendezvous and not for a chat."""
    if len(line) >= MAX_LINE_BYTES:
        return False
    try:
        return _types.decode(line).type in OPENINGS
    except _WRONG:
        return False


def is_code(text: str) -> bool:
    """Whether it could be a nameplate."""
    return _CODE.fullmatch(text) is not None


def decode_ask(line: bytes) -> AnyAsk:
    """What a peer asks.

    Raises:
        BadAsk: it cannot be read, or is of another version.
    """
    if len(line) >= MAX_LINE_BYTES:
        raise BadAsk("A line is longer than 64 KiB.", code="line_too_long")
    try:
        ask = _asks.decode(line)
    except msgspec.ValidationError as exc:
        why = clean_line(str(exc), 200)
        unknown = why.endswith("`$.type`") and "Invalid value" in why
        raise BadAsk(f"A line was not understood: {why}.", code="unknown_type" if unknown else "not_valid") from None
    except msgspec.MsgspecError as exc:
        raise BadAsk(f"A line is not JSON: {clean_line(str(exc), 200)}.", code="not_json") from None
    except UnicodeDecodeError:
        raise BadAsk("A line is not UTF-8.", code="not_utf8") from None
    except RecursionError:
        raise BadAsk("A line is nested too deep.", code="nested_too_deep") from None
    if isinstance(ask, _Ask) and ask.v != VERSION:
        raise BadAsk(f"Version {ask.v} is not spoken here, only {VERSION}.", code="version")
    if isinstance(ask, RegisterPeer | LeaveRoom | LookupRoom) and (ask.code is UNSET) == (ask.tag is UNSET):
        raise BadAsk("A line was not understood: it must name one room, by code or by tag.", code="not_valid")
    return ask


def decode_word(line: bytes) -> AnyWord:
    """What a rendezvous says; its texts are safe to show on one line.

    Raises:
        BadWord: it cannot be read.
    """
    if len(line) >= MAX_LINE_BYTES:
        raise BadWord("A line of the rendezvous is longer than 64 KiB.", code="line_too_long")
    try:
        word = _words.decode(line)
    except _WRONG as exc:
        raise BadWord(f"A line of the rendezvous could not be read ({clean_line(str(exc), 200)}).") from None
    if isinstance(word, Closing | Refusal):
        word = msgspec.structs.replace(word, text=clean_line(word.text, MAX_TEXT_CHARS))
    if isinstance(word, Refusal):
        clean = {name: clean_line(getattr(word, name), 64) for name in ("code", "about", "room", "peer")}
        word = msgspec.structs.replace(word, **clean)
    if isinstance(word, PeerRegistered | RoomInfo | PeerJoined | PeerLeft) and (word.code is UNSET) == (
        word.tag is UNSET
    ):
        raise BadWord("A line of the rendezvous names no room.")
    return word
