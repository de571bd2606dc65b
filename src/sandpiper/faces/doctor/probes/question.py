"""The doctor's own beacon: asks peers to answer without becoming one. Pure.

It is a `ping` that every native peer answers with a pong to all, and whose port 0 says that nobody can be dialled here,
so no native peer shows it or dials it (`sandpiper.core.discovery`). The old program would show whoever pings, so it
must not be able to read this at all: its decoder (Go's encoding/json) does not care for the case of keys, takes the
last of doubled ones and refuses the whole datagram when one has the wrong type. `PORT` is text where it wants a number,
`timestamp` is no time in any form, and `TYPE` is none that it knows. Ours reads keys exactly and passes over those two.
"""

from __future__ import annotations

from msgspec import DecodeError, Struct, field
from msgspec.json import Decoder, Encoder

PEER_ID = "sandpiper-doctor"


class _Question(Struct, frozen=True):
    type: str
    peer_id: str
    username: str
    address: str
    port: int
    timestamp: str
    sequence: int
    other_type: str = field(name="TYPE")
    other_port: str = field(name="PORT")
    token: str


class _Echo(Struct, frozen=True):
    token: str
    address: str


_encode = Encoder().encode
_decoder = Decoder(_Echo)


def encode_question(token: str, sequence: int, address: str) -> bytes:
    """The datagram to send from our own `address`; `token` tells our own from those of other doctors."""
    return _encode(
        _Question(
            type="ping",
            peer_id=PEER_ID,
            username="doctor",
            address=address,
            port=0,
            timestamp="",
            sequence=sequence,
            other_type="doctor",
            other_port="none",
            token=token,
        )
    )


def echo_of(raw: bytes, token: str) -> str | None:
    """The address that our own question was sent from, when `raw` is one."""
    if token.encode() not in raw:
        return None
    try:
        echo = _decoder.decode(raw)
    except DecodeError:
        return None
    return echo.address if echo.token == token else None
