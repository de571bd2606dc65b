"""Dials peers without becoming one: connects, has the other side prove who it is, and goes before it knows us.

The handshake's second message proves the peer (`sandpiper.crypto.handshake`); the third, which would make a link, is
never sent. A peer of the old program is only connected to and left again.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from sandpiper.config import Address
from sandpiper.crypto.handshake import PREAMBLE, LinkHandshake
from sandpiper.crypto.identity import Identity
from sandpiper.errors import DialFailed, LinkError, SandpiperError
from sandpiper.faces.doctor.facts import Outcome, Reach
from sandpiper.net.tcp import TcpPipe, dial
from sandpiper.wire.limits import MAX_HANDSHAKE_BYTES
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandpiper.faces.doctor.facts import HeardPeer

DIAL_SECONDS = 1.5  # a LAN answers in milliseconds; three SYNs at most
PROVE_SECONDS = 1.0
MAX_DIALLED = 32

_OUTCOMES: dict[int, Outcome] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EACCES: "unreachable",
    errno.EPERM: "unreachable",
    errno.ETIMEDOUT: "timeout",
}
_BEST: tuple[Outcome, ...] = ("ok", "stranger", "silent", "refused", "timeout", "unreachable", "error")


class _Tried(NamedTuple):
    """What one address gave; `key` is the proven peer's."""

    place: Address
    outcome: Outcome
    text: str = ""
    ms: float = 0.0
    key: str = ""


async def probe_reach(
    peers: Sequence[HeardPeer], given: Iterable[Address], indexes: Sequence[int]
) -> tuple[Reach, ...]:
    """Dial everybody who was heard, and the `given` addresses; all at once, so it takes as long as the slowest.

    `indexes` are the system's numbers of interfaces, to try where an address belongs to one of them.
    """
    identity = Identity(os.urandom(32))
    heard = {place for peer in peers for place in peer.places}
    keys = {peer.key: peer for peer in peers if peer.key}
    tasks = [_peer(peer, identity, indexes) for peer in peers[:MAX_DIALLED]]
    tasks += [_given(place, keys, identity) for place in given if place not in heard]
    reaches: list[Reach] = await asyncio.gather(*tasks)
    return tuple(reaches)


async def _peer(peer: HeardPeer, identity: Identity, indexes: Sequence[int]) -> Reach:
    """The best that any of its addresses gives."""
    places = [scoped for place in peer.places for scoped in _scoped(place, indexes)]
    tried = await asyncio.gather(*(_dial(place, identity, peer.key) for place in places))
    best: _Tried = min(tried, key=lambda one: (_BEST.index(one.outcome), ":" in one.place.host, one.ms))
    return Reach(
        nick=peer.nick,
        place=best.place,
        outcome=best.outcome,
        text=best.text,
        ms=best.ms,
        here=peer.here,
    )


async def _given(place: Address, keys: dict[str, HeardPeer], identity: Identity) -> Reach:
    tried = await _dial(place, identity, None)
    peer = keys.get(tried.key)
    return Reach(
        nick=peer.nick if peer is not None else "",
        place=place,
        outcome=tried.outcome,
        text=tried.text,
        ms=tried.ms,
        here=peer is not None and peer.here,
        given=True,
        heard=peer is not None,
    )


def _scoped(place: Address, indexes: Sequence[int]) -> list[Address]:
    """The place itself; an IPv6 link-local address without its interface is tried on each."""
    if "%" in place.host or ":" not in place.host or not ipaddress.ip_address(place.host).is_link_local:
        return [place]
    return [Address(f"{place.host}%{index}", place.port) for index in indexes] or [place]


async def _dial(place: Address, identity: Identity, key: str | None) -> _Tried:
    """Dial once. `key`: who must answer; empty: somebody of the old program, who need not; None: any native peer."""
    start = time.perf_counter()
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            pipe = await dial(place.host, place.port)
    except TimeoutError:
        return _Tried(place, "timeout", f"no answer within {DIAL_SECONDS:.1f} s")
    except DialFailed as exc:
        cause = exc.__cause__
        number = cause.errno if isinstance(cause, OSError) else None
        return _Tried(place, _OUTCOMES.get(number or 0, "error"), _short(exc))
    ms = (time.perf_counter() - start) * 1000
    if key == "":
        await pipe.close()
        return _Tried(place, "ok", ms=ms)
    handshake = LinkHandshake(identity, initiator=True, secret=os.urandom(64))
    outcome, text = await _prove(pipe, handshake)
    if outcome != "ok":
        return _Tried(place, outcome, text, ms)
    proven = handshake.peer.hex()
    if key is not None and proven != key:
        return _Tried(place, "stranger", "another peer answers than the beacon says", ms)
    return _Tried(place, "ok", "", ms, proven)


async def _prove(pipe: TcpPipe, handshake: LinkHandshake) -> tuple[Outcome, str]:
    """Have the other side prove its key, and close before ours is told."""
    first = handshake.first()
    pipe.write(PREAMBLE, len(first).to_bytes(2, "big") + first)
    try:
        async with asyncio.timeout(PROVE_SECONDS):
            handshake.finish(await _second(pipe))
    except TimeoutError:
        return "silent", "connects, then says nothing"
    except LinkError:
        return "silent", "connects, then closes or says something else"
    except SandpiperError as exc:
        return "stranger", _short(exc)
    finally:
        await pipe.close()
    return "ok", ""


async def _second(pipe: TcpPipe) -> bytes:
    """The other side's preamble and handshake message.

    Raises:
        LinkError: it closed, or talks something else.
    """
    got, size = b"", len(PREAMBLE) + 2
    while len(got) < size:
        chunk = await pipe.read()
        got += chunk
        if not chunk or not (got[: len(PREAMBLE)] == PREAMBLE[: len(got)]):
            raise LinkError("It does not speak our protocol.")
        if len(got) >= len(PREAMBLE) + 2:
            size = len(PREAMBLE) + 2 + int.from_bytes(got[len(PREAMBLE) : len(PREAMBLE) + 2], "big")
        if size > MAX_HANDSHAKE_BYTES:
            raise LinkError("It does not speak our protocol.")
    return got[len(PREAMBLE) + 2 : size]


def _short(exc: SandpiperError) -> str:
    return clean_line(str(exc).rstrip("."), 120)
