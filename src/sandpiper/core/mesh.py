"""Which links there should be: whom to dial and when, and which of two links to one peer stays. Pure.

Everyone links to everyone that was found. The smaller key dials at once, the larger a second later if nothing has
come by then, so that one dial makes a link and a one-way firewall does not prevent it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.backoff import Backoff
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    import random

    from sandpiper.core.events import Now, PathKind

LARGER_WAITS = 1.0
RETRY_FIRST = 0.25  # a peer that just started may beacon before it listens on every interface
RETRY_MOST = 5.0  # as long as its beacons come
LOST_MOST = 30.0  # after that
GIVE_UP_SECONDS = 300.0  # without a sign of a peer; `--peer` addresses are never given up
MAX_KNOWN = 1024
MAX_ADDRESSES = 4  # a peer on several networks
MAX_DIALS = 128  # under way at one time: a flood of forged beacons must not use up what the system lends us
DIAL_RATE = 50.0  # dials a second, after a first MAX_DIALS at once: nor all of our time
DIALS_TOGETHER = 8  # and no wake for a single one then
SILENT_SECONDS = 5.0  # a link silent for so long loses against a new one
STEADY_SECONDS = 10.0  # a link that lived for so long was no failure: the next wait begins small again


_NEVER = float("inf")
_RANKS: dict[PathKind, int] = {"lan": 0, "direct": 1, "relay": 2}  # the better path, the smaller


class Target(Struct, frozen=True):
    """Somewhere to dial. `peer` is None for an address that a person gave."""

    peer: PeerKey | None
    host: str
    port: int


class _Known:
    """A peer or given address that should be linked."""

    __slots__ = ("addresses", "backoff", "dialling", "seen", "tried", "turn", "when")

    def __init__(self, when: float, seen: float) -> None:
        self.addresses: list[tuple[str, int]] = []
        self.backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        self.dialling = False
        self.seen = seen
        self.tried = -RETRY_MOST  # when it was dialled last
        self.turn = 0
        self.when = when


class _Linked:
    """The live link to a peer: `dialled` by us or not, over which path, up `since` when, last `heard` when."""

    __slots__ = ("dialled", "heard", "path", "since")

    def __init__(self, now: float, path: PathKind, *, dialled: bool) -> None:
        self.dialled = dialled
        self.path = path
        self.since = self.heard = now


class Mesh:
    """One peer's wishes for links."""

    def __init__(self, me: PeerKey, rng: random.Random) -> None:
        self._me = me
        self._rng = rng
        self._known: OrderedDict[PeerKey, _Known] = OrderedDict()
        self._given: dict[tuple[str, int], _Known] = {}
        self._given_peer: dict[tuple[str, int], PeerKey] = {}
        self._linked: dict[PeerKey, _Linked] = {}
        self._dials = 0
        self._soonest: float | None = None  # no later than the first wait's end; None: not known
        self._paid = 0.0  # dials up to now are within `DIAL_RATE` until this moment

    def _slots(self, now: float) -> int:
        """How many dials may begin."""
        return min(MAX_DIALS - self._dials, int(MAX_DIALS - max(0.0, self._paid - now) * DIAL_RATE))

    def deadline(self) -> float | None:
        """When `due` wants to be called next; asked after each beacon, so it is cheap."""
        if self._dials >= MAX_DIALS:
            return None
        if self._soonest is None:
            waiting = [k.when for p, k in self._known.items() if k.addresses and not k.dialling and not self._near(p)]
            waiting += [k.when for a, k in self._given.items() if not k.dialling and not self._given_linked(a)]
            self._soonest = min(waiting, default=_NEVER)
        if self._soonest == _NEVER:
            return None
        return max(self._soonest, self._paid - (MAX_DIALS - DIALS_TOGETHER) / DIAL_RATE)

    # ------------------------------------------------------------ what is heard

    def found(self, peer: PeerKey, host: str, port: int, now: Now, *, fresh: bool) -> None:
        """A beacon says that `peer` listens there."""
        if peer == self._me:
            return
        wait = 0.0 if self._me < peer else LARGER_WAITS
        known = self._known.get(peer)
        if known is None:
            known = self._known[peer] = _Known(now.mono + wait, now.mono)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(peer)
        if fresh or now.mono > known.seen + 2 * RETRY_MOST:  # (back) on the network: what failed before may work now
            known.backoff.reset()
            known.when = min(known.when, max(now.mono + wait, known.tried + RETRY_FIRST))
        known.seen = now.mono
        elsewhere = [address for address in known.addresses if address[0] != host]
        known.addresses = [(host, port), *elsewhere][:MAX_ADDRESSES]
        if self._soonest is not None and not self._near(peer):
            self._soonest = min(self._soonest, known.when)

    def gone(self, peer: PeerKey) -> None:
        """A beacon says that `peer` leaves: do not dial it until it is found again. A live link is not touched."""
        known = self._known.get(peer)
        if known is not None:
            known.addresses.clear()
            self._soonest = None

    def given(self, host: str, port: int, now: Now) -> None:
        """A person wants a link to this address, for as long as we run."""
        self._given[host, port] = _Known(now.mono, now.mono)
        self._soonest = None

    # ------------------------------------------------------------ dialling

    def due(self, now: Now) -> list[Target]:
        """Whom to dial now."""
        out: list[Target] = []
        deadline = self.deadline()
        if deadline is None or deadline > now.mono:
            return out
        self._soonest = None
        gone = now.mono - GIVE_UP_SECONDS
        for given_up in [p for p, k in self._known.items() if k.seen < gone and not k.dialling]:
            if given_up not in self._linked:
                del self._known[given_up]
        waiting: list[tuple[_Known, PeerKey | None, list[tuple[str, int]]]] = [
            (known, peer, known.addresses)
            for peer, known in self._known.items()
            if known.when <= now.mono and known.addresses and not known.dialling and not self._near(peer)
        ]
        waiting += [
            (known, None, [address])
            for address, known in self._given.items()
            if known.when <= now.mono and not known.dialling and not self._given_linked(address)
        ]
        waiting.sort(key=lambda one: one[0].when)
        for known, peer, addresses in waiting[: self._slots(now.mono)]:
            known.dialling = True
            known.tried = now.mono
            self._dials += 1
            self._paid = max(self._paid, now.mono) + 1 / DIAL_RATE
            out.append(Target(peer, *addresses[known.turn % len(addresses)]))
        return out

    def dialled(self, target: Target, peer: PeerKey | None, now: Now) -> None:
        """A dial has ended: `peer` answered, or nobody (None)."""
        self._dials -= 1
        self._soonest = None
        known = self._entry(target)
        if known is None:
            return
        known.dialling = False
        address = (target.host, target.port)
        if peer is not None and target.peer is None:
            self._given_peer[address] = peer
        elif peer is None or peer != target.peer:
            if peer is not None and address in known.addresses:
                known.addresses.remove(address)  # somebody else has it now
            else:
                known.turn += 1
            silent = now.mono - known.seen > 2 * RETRY_MOST
            known.when = now.mono + (LOST_MOST if silent and target.peer else known.backoff.next(self._rng))

    def _entry(self, target: Target) -> _Known | None:
        if target.peer is None:
            return self._given.get((target.host, target.port))
        return self._known.get(target.peer)

    def _given_linked(self, address: tuple[str, int]) -> bool:
        peer = self._given_peer.get(address)
        return peer is not None and (peer == self._me or self._near(peer))

    def _near(self, peer: PeerKey) -> bool:
        """Linked, and over a path that no dial can better."""
        linked = self._linked.get(peer)
        return linked is not None and linked.path != "relay"

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where peers of this network, and those that a person named, listen."""
        found = {address: None for known in self._known.values() for address in known.addresses}
        return (*dict.fromkeys((*self._given, *found)),)

    # ------------------------------------------------------------ links

    def betters(self, peer: PeerKey, path: PathKind) -> bool:
        """True when there is no link to `peer`, or one over a worse path than this."""
        linked = self._linked.get(peer)
        return linked is None or _RANKS[path] < _RANKS[linked.path]

    def keep(self, peer: PeerKey, now: Now, *, dialled: bool, path: PathKind = "lan", doubted: bool = False) -> bool:
        """A new link to `peer` is ready, `dialled` by us or by it. True: it takes its place (of an older one, too);
        False: the older one stays, close the new one. Both ends decide alike: the better path wins, then the smaller
        key's dial. An older one that is `doubted` does not keep a worse path out: the peer comes that way because it
        has no other.
        """
        old = self._linked.get(peer)
        if old is not None and old.heard > now.mono - SILENT_SECONDS:
            ours_wins = self._me < peer
            worse = _RANKS[path] - _RANKS[old.path]
            if (worse > 0 and not doubted) or (not worse and old.dialled != dialled and old.dialled == ours_wins):
                return False
        self._linked[peer] = _Linked(now.mono, path, dialled=dialled)
        self._soonest = None
        return True

    def heard(self, peer: PeerKey, now: Now) -> None:
        """Something came over the link to `peer`."""
        self._linked[peer].heard = now.mono

    def heard_since(self, peer: PeerKey, mono: float) -> bool:
        """True when something has come over the link to `peer` since then, or there is none."""
        linked = self._linked.get(peer)
        return linked is None or linked.heard > mono

    def lost(self, peer: PeerKey, now: Now) -> None:
        """The link to `peer` has ended: relink soon."""
        link = self._linked.pop(peer, None)
        self._soonest = None
        lost = [self._given[address] for address, given_peer in self._given_peer.items() if given_peer == peer]
        known = self._known.get(peer)
        if known is not None:
            lost.append(known)
        for one in lost:
            if link is not None and now.mono >= link.since + STEADY_SECONDS:
                one.backoff.reset()
            one.when = now.mono + one.backoff.next(self._rng)
        if known is not None and self._me > peer:
            known.when += LARGER_WAITS

    def retry_now(self, now: Now) -> None:
        """The network has changed or sleep is over: forget all waiting."""
        self._soonest = None
        for known in (*self._known.values(), *self._given.values()):
            known.backoff.reset()
            known.when = now.mono
