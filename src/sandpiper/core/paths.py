"""Better paths than the relay: which addresses to offer, when to try, and why a peer is reached as it is. Pure.

A try: both sides offer their addresses and ask the rendezvous for a moment (`sandpiper.core.meeting`), at which both
dial (`sandpiper.net.punch`). It begins as soon as a link over a relay is up, and again when addresses change and, ever
more seldom, after it has failed. Page: docs/protocol/rendezvous.md.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from sandpiper.core.backoff import Backoff
from sandpiper.core.rate import Bucket
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.rendezvous import MAX_CANDIDATES, Candidate

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from sandpiper.core.events import PathKind
    from sandpiper.wire.meeting import NatKind

RETRY_FIRST, RETRY_MOST = 2.0, 300.0  # seconds after a try that failed: NATs change seldom, and a try costs packets
GAP_SECONDS = 1.0  # between two tries with one peer, whoever wants them
LARGER_WAITS = 1.0  # seconds more until the larger key asks: one of them is enough
ANSWER_SECONDS = 8.0  # for the other side to ask for the moment as well; then the try has failed
STEADY_SECONDS = 3.0  # a better link that lived for so long was no failure: the next wait begins small again
MAX_TRIES = 8  # at one time: each dials up to `MAX_CANDIDATES` addresses
MAX_SEEN = 2  # addresses that a rendezvous names: the one that it sees, and one of the other family some day
OFFERS_RATE, OFFERS_BURST = 0.05, 10.0  # a second, of one peer: whoever roams says so; nobody has us dial all the time
LEAST_PORT = 1024  # what is below belongs to services, and no connection that goes out has such an end
MAX_KNOWN = 1024  # peers remembered; those that are not linked go first

Ended = Literal["linked", "silent", "refused", "unanswered", "no_port"]
"""How a try ends: in a link; nothing came through; what came was refused; the peer did not take part; we could not."""


class Own(Struct, frozen=True, order=True):
    """One address of this machine, and how many bits of it name its network."""

    host: str
    bits: int


class Ask(Struct, frozen=True):
    """Offer our addresses to `peer`, and ask for a moment to dial each other."""

    peer: PeerKey


class Punch(Struct, frozen=True):
    """Dial `peer` at `candidates`, all at once, at `start_at` (seconds of our clock). `seen` are those of them that
    a NAT may open in that moment.
    """

    peer: PeerKey
    candidates: tuple[Candidate, ...]
    seen: frozenset[Candidate]
    start_at: float


PathEffect = Ask | Punch


class _Way:
    """How one peer is reached, and the tries to do better."""

    __slots__ = (
        "asked",
        "backoff",
        "due",
        "ended",
        "met",
        "nat",
        "offers",
        "path",
        "since",
        "theirs",
        "tried",
        "trying",
    )

    def __init__(self, now: float) -> None:
        self.backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        self.path: PathKind | None = None
        self.since = 0.0
        self.due: float | None = None  # when to ask, or (`asked`) to stop waiting for the other side
        self.asked = False
        self.trying = False
        self.tried = float("-inf")
        self.met = False  # once at a rendezvous with us
        self.offers = Bucket(OFFERS_RATE, OFFERS_BURST, now)
        self.theirs: tuple[Candidate, ...] = ()
        self.nat: NatKind = "unknown"
        self.ended: Ended | None = None  # the last try that failed


class Paths:
    """All peers of one node. Times are seconds of one clock."""

    def __init__(self, me: PeerKey, rng: random.Random) -> None:
        self._me = me
        self._rng = rng
        self._ways: OrderedDict[PeerKey, _Way] = OrderedDict()
        self._busy = 0  # tries for which we have asked, or that are under way
        self._out: list[PathEffect] = []
        self.nat: NatKind = "unknown"
        """What is between us and the rendezvous."""

    def flush(self) -> list[PathEffect]:
        """What is to be done, in order. Call it after everything."""
        out, self._out = self._out, []
        return out

    # ------------------------------------------------------------ what happens

    def linked(self, peer: PeerKey, path: PathKind, now: float) -> None:
        """There is a link to `peer`; told again when nothing has changed."""
        way = self._way(peer, now)
        if way.path == path:
            return
        short = way.path not in (None, "relay") and now < way.since + STEADY_SECONDS
        way.path, way.since = path, now
        if path != "relay":
            self._stop(way)
            way.ended = None
        elif not way.trying:
            self._plan(peer, way, now, wait=way.backoff.next(self._rng) if short else 0.0)

    def lost(self, peer: PeerKey, now: float) -> None:
        """The link has ended."""
        way = self._ways.get(peer)
        if way is None:
            return
        if way.path not in (None, "relay"):
            if now >= way.since + STEADY_SECONDS:
                way.backoff.reset()
            else:  # it works for moments only: not at once again
                way.tried = now + way.backoff.next(self._rng) - GAP_SECONDS
        way.path = None
        self._stop(way)

    def met(self, peer: PeerKey, now: float) -> None:
        """It is at a rendezvous with us (again)."""
        way = self._way(peer, now)
        way.met = True
        if way.path == "relay" and way.due is None and not way.trying:
            self._plan(peer, way, now)

    def offered(self, peer: PeerKey, nat: NatKind, candidates: tuple[Candidate, ...], now: float) -> None:
        """It has named its addresses, and wants to be dialled."""
        way = self._ways.get(peer)
        if way is None or way.path != "relay" or not way.offers.take(now):
            return
        way.met, way.nat, way.theirs = True, nat, candidates
        if not way.trying and not way.asked:
            way.due = max(now, way.tried + GAP_SECONDS)
            self.tick(now)

    def dial_at(self, peer: PeerKey, seen: Sequence[Candidate], start_at: float, now: float) -> None:
        """Both have asked; the rendezvous sees the peer at `seen`."""
        way = self._ways.get(peer)
        if way is None or not way.asked:
            return
        seen = seen[:MAX_SEEN]
        candidates = tuple(dict.fromkeys((*seen, *way.theirs)))[: MAX_CANDIDATES + MAX_SEEN]
        way.trying, way.asked, way.due, way.tried = True, False, None, now
        self._out.append(Punch(peer, candidates, frozenset(seen), start_at))

    def ended(self, peer: PeerKey, how: Ended, now: float) -> None:
        """The try has ended; a link is told with `linked` as well."""
        way = self._ways.get(peer)
        if way is None or not way.trying:
            return
        way.trying = False
        self._busy -= 1
        if how == "linked" or way.path not in (None, "relay"):
            way.ended = None
        else:
            way.ended = how
        if way.path == "relay":
            # A link is taken up in a moment, or the other side has thought better of it.
            way.due = now + (ANSWER_SECONDS if how == "linked" else way.backoff.next(self._rng))

    def changed(self, now: float) -> None:
        """Our addresses are others, here or as they are seen: what failed before may work now."""
        for peer, way in self._ways.items():
            way.backoff.reset()
            way.tried = min(way.tried, now - GAP_SECONDS)
            if way.path == "relay" and not way.trying:
                self._stop(way)
                self._plan(peer, way, now)

    def _plan(self, peer: PeerKey, way: _Way, now: float, wait: float = 0.0) -> None:
        first = now + wait + (0.0 if self._me < peer else LARGER_WAITS)
        way.due = max(first, way.tried + GAP_SECONDS)

    def _stop(self, way: _Way) -> None:
        """Ask no more, and wait for no answer."""
        way.due = None
        if way.asked:
            way.asked = False
            self._busy -= 1

    def _way(self, peer: PeerKey, now: float) -> _Way:
        way = self._ways.get(peer)
        if way is None:
            way = self._ways[peer] = _Way(now)
            if len(self._ways) > MAX_KNOWN:
                for old, one in self._ways.items():
                    if one.path is None and not one.trying and old != peer:
                        del self._ways[old]
                        break
        return way

    # ------------------------------------------------------------ time

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        full = self._busy >= MAX_TRIES
        return min((w.due for w in self._ways.values() if w.due is not None and (w.asked or not full)), default=None)

    def tick(self, now: float) -> None:
        """Ask whoever is due; give up waiting for whoever does not ask."""
        for peer, way in self._ways.items():
            if way.due is None or way.due > now:
                continue
            if way.asked:
                self._stop(way)
                way.ended = "unanswered"
                way.due = now + way.backoff.next(self._rng)
            elif not way.met:
                way.due = None
            elif self._busy < MAX_TRIES:
                way.asked = True
                self._busy += 1
                way.due = now + ANSWER_SECONDS
                self._out.append(Ask(peer))

    # ------------------------------------------------------------ why

    def why(self, peer: PeerKey) -> str:
        """One short sentence on why the peer is reached as it is; empty when there is nothing to say."""
        way = self._ways.get(peer)
        if way is None or way.path is None:
            return ""
        if way.path == "lan":
            return "on this network"
        if way.path == "direct":
            return "through the NAT" if self.nat in ("easy", "hard") or way.nat in ("easy", "hard") else "straight"
        if not way.met:
            return "it is not at the relay under this room, so no direct way is tried"
        if way.trying or way.ended is None:
            return "a direct way is being tried"
        return why_relay(self.nat, way.nat, way.ended)


def why_relay(ours: NatKind, theirs: NatKind, how: Ended = "silent") -> str:
    """Why two peers with these NATs do not reach each other: a short sentence without an end."""
    match how, ours, theirs:
        case "unanswered", _, _:
            return "it has not tried a direct way with us"
        case "no_port", _, _:
            return "this system does not let us dial from the port that the relay sees"
        case _, "hard", "hard":
            return "both NATs give each destination another port"
        case _, "hard", _:
            return "your NAT gives each destination another port"
        case _, _, "hard":
            return "their NAT gives each destination another port"
        case "refused", _, _:
            return "their side refuses what comes from outside"
        case _:
            return "no direct connection came through: a firewall or NAT on the way stops it"


# ---------------------------------------------------------------- addresses


def offers(own: Iterable[Own], reached: str, port: int, mapped: Candidate | None = None) -> tuple[Candidate, ...]:
    """What to offer to a peer: `port` at our addresses, that of `reached` (from which we reach the rendezvous) first.
    `mapped` is an address of the router's that leads to `port`. What the rendezvous sees, it adds by itself.

    Addresses of this machine alone are named only when the rendezvous is on this machine, too.
    """
    hosts = dict.fromkeys((reached, *sorted((one.host for one in own), key=_rank)))
    here = _is_loopback(reached)
    named = [Candidate(host, port) for host in hosts if _dialable(host, here=here)]
    return tuple(([mapped] if mapped is not None else []) + named)[:MAX_CANDIDATES]


def worth_dialling(
    candidates: Iterable[Candidate], own: Iterable[Own], reached: str, port: int
) -> tuple[Candidate, ...]:
    """Those that may lead to a peer: not to ourselves, to many, or to programs of this machine (unless the rendezvous
    is on it).
    """
    mine = {one.host for one in own} | {reached}
    here = _is_loopback(reached)
    return tuple(
        one
        for one in candidates
        if one.port >= LEAST_PORT and _dialable(one.host, here=here) and not (one.host in mine and one.port == port)
    )


def path_to(host: str, own: Iterable[Own]) -> PathKind:
    """`lan` when `host` is on a network of ours, else `direct`."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # it was gone before it could be asked where it is
        return "direct"
    if address.is_loopback or address.is_link_local:
        return "lan"
    near = any(address in ip_network(f"{one.host}/{one.bits}", strict=False) for one in own)
    return "lan" if near else "direct"


def _rank(host: str) -> tuple[int, str]:
    """IPv4 first, IPv6 of the wide world before the local one."""
    address = ip_address(host)
    return (0 if address.version == 4 else 1 if address.is_global else 2, host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _dialable(host: str, *, here: bool) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if address.version == 6 and address.ipv4_mapped is not None:
        return False  # one that we know already, in disguise
    if address.is_loopback:
        return here
    return not (address.is_unspecified or address.is_multicast or address.is_link_local or host == "255.255.255.255")
