"""Beacons: when to send which, and what those of others mean. Pure; `sandpiper.net.lan` carries them.

A beacon is not authenticated. It can make us dial an address, and nothing else: who answers there is proven by the
link's handshake; `leave` only stops us dialling. Page: docs/protocol/beacon.md.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.wire.beacon import Beacon, BeaconType
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    import random

    from sandpiper.core.events import Now

BEACON_SECONDS = 5.0  # as the founding project
BEACON_JITTER = 1.0
PONG_MOST = 0.05  # a hundred peers that hear one ping do not answer in one instant
PONG_QUIET = 0.5  # between two pongs: whoever asks sooner is answered then, together with all others who did
OLD_SECONDS = 30.0  # a message this much older than its sender's others is a replay
SKEW_SECONDS = 30.0  # a clock this wrong is reported
SKEW_QUIET = 10.0  # one report in this time: a flood of forged beacons must not fill the screen
SKEW_MOST = 1e10  # seconds, three centuries: what is more wrong is reported as this
MAX_HEARD = 1024  # peers remembered from beacons, the least recently heard go first
FORGET_SECONDS = 60.0


class Cast(Struct, frozen=True):
    """Send a beacon of this type on every interface."""

    type: BeaconType


class Found(Struct, frozen=True):
    """A native peer can be dialled there. `fresh`: it was not known, or has just (re)started."""

    peer: PeerKey
    host: str
    port: int
    nick: str
    fresh: bool


class FoundPlain(Struct, frozen=True):
    """A peer of the old program can be dialled there."""

    peer_id: str
    host: str
    port: int
    nick: str


class Left(Struct, frozen=True):
    """A beacon says that this peer leaves."""

    peer_id: str
    peer: PeerKey | None


class Skewed(Struct, frozen=True):
    """A peer's clock differs from ours by so many seconds (positive: it is ahead). Told once a peer."""

    nick: str
    seconds: float


class Ignored(Struct, frozen=True):
    """A beacon was refused; for the log."""

    host: str
    reason: str


DiscoveryEffect = Cast | Found | FoundPlain | Left | Skewed | Ignored


class _Heard:
    """One sender, as its beacons showed it."""

    __slots__ = ("at", "offset", "old", "sequence", "skew_told", "where")

    def __init__(self, at: float, offset: float) -> None:
        self.at = at
        self.offset = offset  # the smallest (arrival - timestamp) so far: clock difference and fastest way
        self.old: tuple[float, int] | None = None  # offset and sequence of the last one that seemed too old
        self.sequence = 0
        self.skew_told = False
        self.where: tuple[str, int] = ("", 0)

    def goes_on(self, offset: float, sequence: int) -> bool:
        """Whether one that seems too old follows another such one as only a living sender's do."""
        before, self.old = self.old, (offset, sequence)
        return before is not None and abs(offset - before[0]) < BEACON_JITTER and sequence > before[1]


class Discovery:
    """What one peer knows from beacons. `peer_id` is what ours say; beacons with it are our own echo."""

    def __init__(self, peer_id: str, rng: random.Random, now: Now) -> None:
        self._peer_id = peer_id
        self._rng = rng
        self._heard: OrderedDict[tuple[str, str], _Heard] = OrderedDict()
        self._next = now.mono
        self._started = False
        self._pong_at: float | None = None
        self._ponged = -PONG_QUIET
        self._skew_next = now.mono

    def deadline(self) -> float:
        """When `tick` wants to be called next."""
        return self._next if self._pong_at is None else min(self._next, self._pong_at)

    def interfaces_changed(self, now: Now) -> None:
        """There is a new interface, or sleep is over: announce and ask at once."""
        self._started = False
        self._next = now.mono

    def tick(self, now: Now) -> list[DiscoveryEffect]:
        """Send what is due."""
        out: list[DiscoveryEffect] = []
        if self._pong_at is not None and now.mono >= self._pong_at:
            self._pong_at = None
            self._ponged = now.mono
            out.append(Cast("pong"))
        if now.mono >= self._next:
            self._next = now.mono + BEACON_SECONDS + self._rng.uniform(-BEACON_JITTER, BEACON_JITTER)
            out.append(Cast("announce"))
            if not self._started:
                self._started = True
                out.append(Cast("ping"))
            for key in [k for k, heard in self._heard.items() if heard.at < now.mono - FORGET_SECONDS]:
                del self._heard[key]
        return out

    def heard(self, beacon: Beacon, host: str, now: Now) -> list[DiscoveryEffect]:
        """A beacon came from `host`."""
        if beacon.peer_id == self._peer_id:
            return []
        out: list[DiscoveryEffect] = []
        sender = (beacon.peer_id, host)
        offset = now.wall_ms / 1000 - beacon.timestamp
        heard = self._heard.get(sender)
        fresh = heard is None
        if heard is None:
            heard = self._heard[sender] = _Heard(now.mono, offset)
            while len(self._heard) > MAX_HEARD:
                self._heard.popitem(last=False)
        elif beacon.timestamp and offset > heard.offset + OLD_SECONDS:
            if beacon.sequence <= heard.sequence and not heard.goes_on(offset, beacon.sequence):
                return [Ignored(host, "a beacon older than 30 s was replayed or delayed")]
            heard.offset = offset  # its clock was set back, or somebody has forged a beacon from the future
        self._heard.move_to_end(sender)
        heard.at = now.mono
        heard.sequence = beacon.sequence
        heard.offset = min(heard.offset, offset)
        wrong = beacon.timestamp and abs(offset) > SKEW_SECONDS
        if wrong and not heard.skew_told and now.mono >= self._skew_next:
            heard.skew_told = True
            self._skew_next = now.mono + SKEW_QUIET
            out.append(Skewed(beacon.username, max(-SKEW_MOST, min(SKEW_MOST, -offset))))
        if beacon.type == "leave":
            del self._heard[sender]
            return [*out, Left(beacon.peer_id, beacon.key)]
        # The old program does not ask, but it dials whom it hears: answering its first beacon saves it up to 5 s.
        asked = beacon.type == "ping" or (fresh and beacon.key is None)
        if asked and self._pong_at is None:
            self._pong_at = max(now.mono, self._ponged + PONG_QUIET) + self._rng.uniform(0, PONG_MOST)
        fresh = fresh or heard.where != (host, beacon.port)
        heard.where = (host, beacon.port)
        if not beacon.port:
            return [*out, Ignored(host, "a beacon names no port")]
        if beacon.key is not None:
            out.append(Found(beacon.key, host, beacon.port, beacon.username, fresh or beacon.type == "ping"))
        else:
            out.append(FoundPlain(beacon.peer_id, host, beacon.port, beacon.username))
        return out
