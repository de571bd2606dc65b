"""Which links are alive: when to ping whom, whom to give up, and how long a round trip takes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    from sandpiper.core.events import Now

IDLE_SECONDS = 20.0  # nothing heard for so long: ping
DEAD_SECONDS = 60.0  # nothing heard for so long, pings included: the link is dead
DOUBT_SECONDS = 4.0  # after sleep or a change of network, an answer must come within this time
GONE_DOUBT_SECONDS = 1.5  # or this, where it is most likely that none comes: what it waits for is a link over a relay
BRISK_IDLE_SECONDS, BRISK_DEAD_SECONDS = 5.0, 15.0  # of a link that has another way: NATs forget without a word


class _Life:
    __slots__ = ("dead", "doubt", "heard", "idle", "pinged", "rtt")

    def __init__(self, now: float, *, brisk: bool) -> None:
        self.idle, self.dead = (BRISK_IDLE_SECONDS, BRISK_DEAD_SECONDS) if brisk else (IDLE_SECONDS, DEAD_SECONDS)
        self.heard = now
        self.pinged = 0.0
        self.doubt: float | None = None
        self.rtt: float | None = None


class Due(Struct, frozen=True):
    """Links to ping (with the number to send) and links to close."""

    ping: tuple[tuple[PeerKey, int], ...]
    dead: tuple[PeerKey, ...]


class Keepalive:
    """The life signs of all links."""

    def __init__(self) -> None:
        self._lives: dict[PeerKey, _Life] = {}

    def up(self, peer: PeerKey, now: Now, *, brisk: bool = False) -> int:
        """A link is ready; the number for a first ping, which measures its round trip. `brisk`: look often."""
        life = self._lives[peer] = _Life(now.mono, brisk=brisk)
        return self._ping(life, now)

    def down(self, peer: PeerKey) -> None:
        """A link has ended."""
        self._lives.pop(peer, None)

    def heard(self, peer: PeerKey, now: Now) -> None:
        """Anything came."""
        life = self._lives.get(peer)
        if life is not None:
            life.heard = now.mono
            life.doubt = None

    def answered(self, peer: PeerKey, number: int, now: Now) -> None:
        """A pong came with the number of our ping."""
        life = self._lives.get(peer)
        if life is not None and number == ping_number(life.pinged):
            life.rtt = max(0.0, now.mono - life.pinged)

    def rtt(self, peer: PeerKey) -> float | None:
        """The last measured round trip in seconds, None before the first."""
        life = self._lives.get(peer)
        return life.rtt if life is not None else None

    def doubt_all(self, now: Now, seconds: float = DOUBT_SECONDS) -> Due:
        """The machine slept or the network changed: every link must answer soon."""
        return Due(tuple(ping for peer in self._lives for ping in self.doubt(peer, now, seconds).ping), ())

    def doubt(self, peer: PeerKey, now: Now, seconds: float) -> Due:
        """The link to `peer` may be none any more: it must answer within these seconds."""
        life = self._lives.get(peer)
        if life is None:
            return Due((), ())
        sooner = now.mono + seconds
        if life.doubt is not None and life.doubt <= sooner:  # who doubts again gives no further respite
            return Due((), ())
        life.doubt = sooner
        return Due(((peer, self._ping(life, now)),), ())

    def doubted(self, peer: PeerKey) -> bool:
        """True while the link to `peer` has not answered a doubt."""
        life = self._lives.get(peer)
        return life is not None and life.doubt is not None

    def deadline(self) -> float | None:
        """When `due` wants to be called next."""
        return min((self._deadline(life) for life in self._lives.values()), default=None)

    def due(self, now: Now) -> Due:
        """What is to be done now."""
        ping, dead = [], []
        for peer, life in self._lives.items():
            if now.mono >= life.heard + life.dead or (life.doubt is not None and now.mono >= life.doubt):
                dead.append(peer)
            elif now.mono >= max(life.heard, life.pinged) + life.idle:
                ping.append((peer, self._ping(life, now)))
        return Due(tuple(ping), tuple(dead))

    def _deadline(self, life: _Life) -> float:
        end = min(life.heard + life.dead, max(life.heard, life.pinged) + life.idle)
        return end if life.doubt is None else min(end, life.doubt)

    def _ping(self, life: _Life, now: Now) -> int:
        life.pinged = now.mono
        return ping_number(now.mono)


def ping_number(mono: float) -> int:
    """What to send in a ping at this moment, to know its answer again."""
    return int(mono * 1_000_000) & ((1 << 48) - 1)
