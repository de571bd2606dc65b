"""The simulated network: virtual time, who can reach whom, and what breaks when."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import sha256
from itertools import count
from struct import pack
from typing import TYPE_CHECKING, TypeVarTuple, Unpack

from sandpiper.core.events import Now
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.signing import open_record
from sandpiper.errors import LocalProtocolError
from sandpiper.testing.simulation.link import End, Link
from sandpiper.testing.simulation.peer import SimPeer
from sandpiper.testing.simulation.stranger import Stranger
from sandpiper.testing.simulation.weather import EPOCH_MS, Range, Weather
from sandpiper.wire.frames import AnyFrame, decode_frame

if TYPE_CHECKING:
    from sandpiper.wire.ids import RoomId
    from sandpiper.wire.records import Record

MAX_SAME_INSTANT = 200_000  # more events without time going on is an engine that asks for ticks for ever
TWIN_RETRY = 5.0

_Args = TypeVarTuple("_Args")
Tap = Callable[[End, End, AnyFrame], None]


class Simulation:
    """A whole network of real engines in one process, on virtual time, from one seed.

    Every peer runs the engine that ships; frames are really encoded and decoded, records really signed and checked;
    only the wires, the disks and the clocks are made of memory. Nothing waits for real time, and the same seed gives
    the same run to the last byte, on any machine, whatever `PYTHONHASHSEED` is: see `trace_digest`.

    >>> from sandpiper.testing import Simulation
    >>> sim = Simulation(seed=7, peers=3)
    >>> sim.run_until(5)
    >>> record = sim.peers[0].say("lobby", "hello")
    >>> sim.partition([[0], [1, 2]])
    >>> sim.crash(2)
    >>> sim.run_for(10)
    >>> sim.heal()
    >>> sim.restart(2)
    >>> sim.run_until_quiet(300)
    True
    >>> [peer.texts("lobby") for peer in sim.peers]
    [['hello'], ['hello'], ['hello']]

    All peers start at time 0, in the open rooms named by `rooms`, and dial each other as soon as they can. To play a
    bot, put a callback on a peer with `SimPeer.watch`. To play a broken or hostile peer, use `stranger`.

    Checked signatures are remembered by the simulation: the same bytes verify the same at every peer, so each record
    costs one check instead of one a peer. Everything else is done as often as a network would.
    """

    def __init__(
        self, seed: int, peers: int = 20, *, rooms: Sequence[str] = ("lobby",), weather: Weather | None = None
    ) -> None:
        self.seed = seed
        self.rng = random.Random(f"sandpiper simulation {seed}")
        self.weather = weather if weather is not None else Weather()
        self.now = 0.0
        """Virtual time, in seconds since the simulation began."""
        self.peers: list[SimPeer] = []
        """Peers that run an engine, also those that are down at the moment."""
        self.strangers: list[Stranger] = []
        """Peers without an engine."""
        self.frames_sent = 0
        self.bytes_sent = 0
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._serial = count()
        self._trace = sha256(f"{seed} {peers}".encode())
        self._opened: dict[tuple[bytes, RoomId], Record] = {}
        self._taps: list[Tap] = []
        self._group: dict[int, int] = {}
        self._cut: set[tuple[int, int]] = set()
        self._special: dict[tuple[int, int], tuple[float, float]] = {}
        self._dialling: set[tuple[int, int]] = set()
        self._ends: list[End] = []
        self._living: dict[tuple[int, int], Link] = {}
        self._planned = 0  # events that the test put into the queue
        self._active_at = 0.0
        for _ in range(peers):
            self.add_peer(rooms=rooms)

    # ------------------------------------------------------------ who takes part

    def add_peer(
        self, *, nick: str = "", rooms: Sequence[str] = ("lobby",), twin_of: int | None = None, started: bool = True
    ) -> SimPeer:
        """One more peer, from now on. `twin_of`: it has the same identity as that peer, as if somebody had copied a
        profile to a second machine; the two never link to each other, and others keep one link for each key.
        """
        identity = Identity(self.rng.randbytes(32)) if twin_of is None else self.peers[twin_of].identity
        skew = self.rng.uniform(-self.weather.skew, self.weather.skew)
        number = len(self._ends)
        peer = SimPeer(self, number, len(self.peers), identity, nick or f"peer{len(self.peers)}", skew, tuple(rooms))
        self.peers.append(peer)
        self._ends.append(peer)
        if started:
            self.restart(peer.index)
        return peer

    def stranger(self) -> Stranger:
        """A peer without an engine, which sends what the test tells it to: see `Stranger`. It links to nobody by
        itself, and no partition keeps it out.
        """
        stranger = Stranger(self, len(self._ends), Identity(self.rng.randbytes(32)))
        self.strangers.append(stranger)
        self._ends.append(stranger)
        return stranger

    # ------------------------------------------------------------ time

    def at(self, when: float, do: Callable[[], object]) -> None:
        """Do something at a moment of virtual time (at once when that is past)."""
        self._planned += 1
        self.schedule(max(when, self.now), self._do_planned, do)

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something so many seconds from now."""
        self.at(self.now + seconds, do)

    def run_until(self, when: float) -> None:
        """Let time pass until `when`, and everything that is due happen."""
        same, last = 0, self.now
        while self._queue and self._queue[0][0] <= when:
            self.now = self._queue[0][0]
            same, last = (same + 1, last) if self.now == last else (0, self.now)
            if same > MAX_SAME_INSTANT:
                raise LocalProtocolError(f"simulation {self.seed} stands still at {self.now} s")
            heapq.heappop(self._queue)[2]()
        self.now = max(self.now, when)

    def run_for(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.run_until(self.now + seconds)

    def run_until_quiet(self, limit: float = 600.0, *, calm: float = 45.0) -> bool:
        """Let time pass until the network has settled: for `calm` seconds nothing was written to any disk, no link
        came or went, and nothing planned with `at` is left. (45 seconds are longer than the engine's own round of
        repairs.) False: `limit` seconds have passed, and it has not.
        """
        end = self.now + limit
        self._active_at = self.now
        while self._planned or self.now < self._active_at + calm:
            if self.now >= end:
                return False
            self.run_until(min(end, self._active_at + calm if not self._planned else self.now + calm))
        return True

    def moment(self, skew: float = 0.0) -> Now:
        """This moment on a peer's clocks."""
        return Now(self.now, max(0, EPOCH_MS + int((self.now + skew) * 1000)))

    # ------------------------------------------------------------ weather

    def partition(self, groups: Iterable[Iterable[int]]) -> None:
        """Cut the network into groups of peers (by index); those not named are together in one more group. Takes the
        place of an earlier partition.
        """
        self._group = {index: n for n, group in enumerate(groups, 1) for index in group}
        self._check_reach("partition")

    def cut(self, one: int, other: int) -> None:
        """Keep these two peers from linking, until `mend` or `heal`."""
        self._cut.add(_pair(self.peers[one].number, self.peers[other].number))
        self._check_reach("cut")

    def mend(self, one: int, other: int) -> None:
        """Take back a `cut`."""
        self._cut.discard(_pair(self.peers[one].number, self.peers[other].number))
        self._redial()

    def heal(self) -> None:
        """Everyone can reach everyone again."""
        self._group.clear()
        self._cut.clear()
        self._redial()

    def slow(self, one: int, other: int, *, delay: float, bandwidth: float) -> None:
        """Links between these two have this delay and bandwidth from the next one on; the present one is broken."""
        pair = _pair(self.peers[one].number, self.peers[other].number)
        self._special[pair] = (delay, bandwidth)
        self.break_between(one, other)

    def break_between(self, one: int, other: int) -> bool:
        """Break the link between these two; they dial again. False: there is none."""
        link = self._living.get(_pair(self.peers[one].number, self.peers[other].number))
        if link is None:
            return False
        self.break_link(link, "broken")
        return True

    def crash(self, index: int, *, while_writing: bool = False) -> None:
        """Kill a peer: its memory and everything since the last commit are gone, what it had on its way is lost.
        `while_writing`: it dies the next time it writes records, somewhere between two effects of the engine.
        """
        if while_writing:
            self.peers[index].die_while_writing()
            return
        self.note(b"crash", index, 0, b"")
        peer = self.peers[index]
        peer.stop()
        for link in [link for link in self._living.values() if peer in link.ends]:
            self.break_link(link, "crashed", lose=True)

    def restart(self, index: int) -> None:
        """Start a peer that is down, from what it has on disk."""
        self.note(b"start", index, 0, b"")
        self.peers[index].start()
        self._redial()

    # ------------------------------------------------------------ looking at it

    def trace_digest(self) -> str:
        """A hash of everything that has happened: every frame, crash and link, and when. Two runs of one seed have
        the same; run a failing seed again, and it fails in the same place.
        """
        return self._trace.hexdigest()

    def tap(self, watch: Tap) -> None:
        """Call `watch(source, target, frame)` for every frame that a link takes, from now on."""
        self._taps.append(watch)

    def linked(self, one: int, other: int) -> bool:
        """True when these two have a living link."""
        return _pair(self.peers[one].number, self.peers[other].number) in self._living

    # ------------------------------------------------------------ for the parts of the simulation

    def schedule(self, when: float, do: Callable[[Unpack[_Args]], None], *args: *_Args) -> None:
        """Like `at`, for what happens by itself: `run_until_quiet` does not wait for it."""
        call: Callable[[], object] = partial(do, *args)
        heapq.heappush(self._queue, (when, next(self._serial), call))

    def note(self, what: bytes, one: int, other: int, raw: bytes) -> None:
        """Add to the trace."""
        self._trace.update(pack("<5sdII", what, self.now, one, other))
        self._trace.update(raw)

    def tapped(self, source: End, target: End, raw: bytes) -> None:
        """A link took a frame."""
        self.frames_sent += 1
        self.bytes_sent += len(raw)
        if self._taps:
            frame = decode_frame(raw)
            for watch in self._taps:
                watch(source, target, frame)

    def active(self) -> None:
        """Something lasting has happened."""
        self._active_at = self.now

    def open(self, raws: Iterable[bytes], room: RoomId) -> tuple[Record, ...]:
        """Check and type records as `open_records` does; the same bytes are checked once."""
        out = []
        for raw in raws:
            record = self._opened.get((raw, room))
            if record is None:
                record = self._opened[raw, room] = open_record(raw, room)
            out.append(record)
        return tuple(out)

    def between(self, span: Range) -> float:
        """A value in a range, from the seed."""
        return self.rng.uniform(*span)

    def connect(self, one: End, other: End) -> Link:
        """A new link, dialled by `one`; `other` learns of it a delay later."""
        pair = _pair(one.number, other.number)
        default = (self.between(self.weather.delay), self.weather.bandwidth)
        delay, bandwidth = self._special.get(pair, default)
        if pair in self._living:
            self.break_link(self._living[pair], "replaced")
        link = self._living[pair] = Link(self, one, other, delay, bandwidth)
        self.note(b"link", one.number, other.number, b"")
        self.active()
        self.schedule(link.arrival(0, 0), self._accept, link)
        self._replace(one, link)
        one.link_up(link)
        return link

    def break_link(self, link: Link, reason: str, *, lose: bool | None = None) -> None:
        """End a link; each end learns of it in its own time. `lose`: what is on its way is gone."""
        if not link.alive:
            return
        link.alive = False
        del self._living[_pair(link.ends[0].number, link.ends[1].number)]
        link.lost = self.weather.lose_in_flight if lose is None else lose
        self.note(b"break", link.ends[0].number, link.ends[1].number, reason.encode())
        self.active()
        start = self.now if link.lost else link.drained()
        for end in link.ends:
            self.schedule(start + self.between(self.weather.notice), self._learn, end, link, reason)

    def hang_up(self, end: End, link: Link, code: str) -> None:
        """`end` closes a link on purpose: it is done with it at once; what was sent before still arrives."""
        self.break_link(link, f"hangup {code}", lose=False)
        self.schedule(self.now, self._learn, end, link, f"hangup {code}")

    def redial(self, one: End, other: End, span: Range) -> None:
        """Link these two in a while, if they can be then."""
        if isinstance(one, SimPeer) and isinstance(other, SimPeer) and one.key != other.key:
            pair = _pair(one.number, other.number)
            if pair not in self._dialling:
                self._dialling.add(pair)
                self.schedule(self.now + self.between(span), self._dial, one, other)

    # ------------------------------------------------------------ inside

    def _do_planned(self, do: Callable[[], object]) -> None:
        self._planned -= 1
        self.active()
        do()

    def _may_dial(self, one: SimPeer, other: SimPeer) -> bool:
        both = one.alive and other.alive
        return both and self._reachable(one, other) and not self.linked(one.index, other.index)

    def _reachable(self, one: SimPeer, other: SimPeer) -> bool:
        same_group = self._group.get(one.index, 0) == self._group.get(other.index, 0)
        return same_group and _pair(one.number, other.number) not in self._cut

    def _check_reach(self, reason: str) -> None:
        for link in list(self._living.values()):
            one, other = link.ends
            if isinstance(one, SimPeer) and isinstance(other, SimPeer) and not self._reachable(one, other):
                self.break_link(link, reason)
        self._redial()

    def _redial(self) -> None:
        """Dial wherever two peers could have a link and have none."""
        for n, one in enumerate(self.peers):
            for other in self.peers[:n]:
                if self._may_dial(one, other):
                    self.redial(one, other, self.weather.dial)

    def _dial(self, one: SimPeer, other: SimPeer) -> None:
        self._dialling.discard(_pair(one.number, other.number))
        if not self._may_dial(one, other):
            return
        if one.living_link(other.key) or other.living_link(one.key):  # a twin is there already
            self.redial(one, other, (TWIN_RETRY, 2 * TWIN_RETRY))
            return
        self.connect(one, other)

    def _accept(self, link: Link) -> None:
        other = link.ends[1]
        if link.lost or not other.alive:
            self.break_link(link, "refused")
            return
        self._replace(other, link)
        other.link_up(link)

    def _replace(self, end: End, link: Link) -> None:
        old = end.links.get(link.other(end).key)
        end.links[link.other(end).key] = link
        if old is not None:
            self.break_link(old, "replaced")

    def _learn(self, end: End, link: Link, reason: str) -> None:
        other = link.other(end)
        if end.links.get(other.key) is link:
            del end.links[other.key]
            if end.alive:
                end.link_down(link, reason)
        self.redial(end, other, self.weather.redial_refused if reason.startswith("hangup") else self.weather.dial)


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)
