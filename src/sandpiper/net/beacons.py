"""Being found on the LAN: carries `sandpiper.core.discovery` over multicast and feeds what it finds to the mesh."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from sandpiper.core.discovery import Cast, Discovery, DiscoveryEffect, Found, FoundPlain, Ignored, Left, Skewed
from sandpiper.errors import UsageError
from sandpiper.net.lan import LOOK_SECONDS, Multicast
from sandpiper.wire.beacon import BadBeacon, Beacon, BeaconType, decode_beacon, encode_beacon
from sandpiper.wire.ids import PeerKey, RoomTag
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.events import Now
    from sandpiper.core.mesh import Mesh

log = logging.getLogger(__name__)

MAX_LOGGED = 200  # characters of an error about somebody's bytes, which it may repeat


class Identifying(Struct, frozen=True):
    """What a beacon says of us at this moment."""

    key: PeerKey
    nick: str
    port: int
    rooms: tuple[RoomTag, ...]


class FindsPlain(Protocol):
    """Whoever wants to hear of peers of the old program."""

    def found(self, peer_id: str, host: str, port: int, nick: str) -> None:
        """One listens there."""
        ...


class Beacons:
    """The beacons of one node: heard, sent, and followed across interfaces as those come and go."""

    def __init__(
        self,
        multicast: Multicast,
        discovery: Discovery,
        mesh: Mesh,
        now: Callable[[], Now],
        us: Callable[[], Identifying],
        skewed: Callable[[str, float], None],
        changed: Callable[[], None],
        plain: FindsPlain | None = None,
        came: Callable[[], None] = lambda: None,
    ) -> None:
        """`skewed(nick, seconds)` tells of wrong clocks, `changed` that there is something to do, `came` that an
        interface has come.
        """
        self._multicast = multicast
        self._discovery = discovery
        self._mesh = mesh
        self._now = now
        self._us = us
        self._skewed = skewed
        self._changed = changed
        self._plain = plain
        self._came = came
        self._sequence = 0
        self._twice = False  # an old peer writes times as numbers: ours go out in that form, too
        multicast.listen(self._heard)

    def deadline(self) -> float:
        """When `tick` wants to be called next."""
        return self._discovery.deadline()

    def tick(self) -> None:
        """Send what is due."""
        self._do(self._discovery.tick(self._now()))

    def again(self) -> None:
        """The network has changed or sleep is over: announce and ask at once."""
        self._discovery.interfaces_changed(self._now())

    def leave(self) -> None:
        """Say goodbye on every interface."""
        self._cast("leave")

    async def follow(self) -> None:
        """Look at the machine's interfaces for as long as it runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                come = await self._multicast.look()
            except UsageError as exc:  # an interface that was asked for by name is gone for now
                log.info("%s", exc.sentence())
                continue
            if come:
                self.again()
                self._changed()
                self._came()

    def _cast(self, kind: BeaconType) -> None:
        self._cast_once(kind, unix_time=False)
        if self._twice:
            self._cast_once(kind, unix_time=True)

    def _cast_once(self, kind: BeaconType, *, unix_time: bool) -> None:
        self._sequence += 1
        us, stamp = self._us(), time.time()

        def encode(address: str) -> bytes:
            return encode_beacon(
                Beacon(
                    type=kind,
                    peer_id=peer_id(us.key),
                    username=us.nick,
                    port=us.port,
                    timestamp=stamp,
                    sequence=self._sequence,
                    key=us.key,
                    rooms=us.rooms,
                    address=address,
                ),
                unix_time=unix_time,
            )

        self._multicast.cast(encode)

    def _heard(self, raw: bytes, host: str) -> None:
        try:
            beacon = decode_beacon(raw)
        except BadBeacon as exc:
            log.info("datagram from %s refused: %s", host, clean_line(str(exc), MAX_LOGGED))
            return
        self._twice |= self._plain is not None and beacon.key is None and beacon.unix_time
        before = self._discovery.deadline()
        effects = self._discovery.heard(beacon, host, self._now())
        self._do(effects)
        # A question from who cannot be dialled (the doctor's, `sandpiper peers`) is answered at once, too.
        if self._discovery.deadline() < before or any(isinstance(effect, Found | FoundPlain) for effect in effects):
            self._changed()

    def _do(self, effects: list[DiscoveryEffect]) -> None:
        for effect in effects:
            match effect:
                case Cast(type=kind):
                    self._cast(kind)
                case Found(peer=peer, host=host, port=port, fresh=fresh):
                    self._mesh.found(peer, host, port, self._now(), fresh=fresh)
                case FoundPlain(peer_id=plain_id, host=host, port=port, nick=nick):
                    if self._plain is not None:
                        self._plain.found(plain_id, host, port, nick)
                case Left(peer=peer):
                    if peer is not None:
                        self._mesh.gone(peer)
                case Skewed(nick=nick, seconds=seconds):
                    self._skewed(nick, seconds)
                case Ignored(host=host, reason=reason):
                    log.info("beacon from %s ignored: %s", host, reason)


def peer_id(key: PeerKey) -> str:
    """What a native peer is called where the old dialect wants an id: the first half of its key in hex."""
    return key.hex()[:32]
