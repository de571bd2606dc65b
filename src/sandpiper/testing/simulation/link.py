"""A simulated link: two ordered pipes that live and break together, and the ends that hold it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandpiper.testing.simulation.world import Simulation
    from sandpiper.wire.ids import PeerKey


class End(ABC):
    """Whoever can hold links: a peer with an engine, or a stranger that a test plays."""

    def __init__(self, world: Simulation, number: int, key: PeerKey) -> None:
        self.world = world
        self.number = number
        self.key = key
        self.links: dict[PeerKey, Link] = {}
        """Links that this end believes to be alive, by the key at their other end."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """True while the program runs."""

    @abstractmethod
    def link_up(self, link: Link) -> None:
        """A link is ready; it takes the place of an earlier one to the same key."""

    @abstractmethod
    def link_down(self, link: Link, reason: str) -> None:
        """A link is gone."""

    @abstractmethod
    def receive(self, link: Link, raw: bytes) -> None:
        """One frame came."""

    def living_link(self, key: PeerKey) -> Link | None:
        """The link to whoever has this key, if it is really alive."""
        link = self.links.get(key)
        return link if link is not None and link.alive else None


class Link:
    """An encrypted pipe between two ends; the first one dialled. Frames of one direction arrive in order."""

    def __init__(self, world: Simulation, one: End, other: End, delay: float, bandwidth: float) -> None:
        self.world = world
        self.ends = (one, other)
        self.alive = True
        self.lost = False
        """Broken, and what was on its way is gone."""
        self._delay = delay
        self._bandwidth = bandwidth
        self._sent_until = [0.0, 0.0]  # when the last byte has left, each way
        self._arrived_until = [0.0, 0.0]  # when the last frame arrives, each way
        self._in_flight = [0, 0]

    def other(self, end: End) -> End:
        """The end that `end` is linked to."""
        return self.ends[1] if end is self.ends[0] else self.ends[0]

    def send(self, source: End, raw: bytes) -> None:
        """Offer one frame. It never waits: a link with too much on its way is closed."""
        if not self.alive:
            return  # broken, and this end does not know it yet
        way = 0 if source is self.ends[0] else 1
        if self._in_flight[way] + len(raw) > self.world.weather.outbox_bytes:
            self.world.break_link(self, "slow")
            return
        self._in_flight[way] += len(raw)
        self.world.tapped(source, self.other(source), raw)
        self.world.schedule(self.arrival(way, len(raw)), self._arrive, way, raw)

    def arrival(self, way: int, size: int) -> float:
        """When something of `size` bytes sent now arrives: after everything that was sent before it."""
        world = self.world
        self._sent_until[way] = max(world.now, self._sent_until[way]) + size / self._bandwidth
        delay = self._delay * (1 + world.rng.random() * world.weather.jitter)
        self._arrived_until[way] = max(self._arrived_until[way], self._sent_until[way] + delay)
        return self._arrived_until[way]

    def drained(self) -> float:
        """When everything that is on its way has arrived."""
        return max(self.world.now, *self._arrived_until)

    def _arrive(self, way: int, raw: bytes) -> None:
        self._in_flight[way] -= len(raw)
        source, target = self.ends[way], self.ends[1 - way]
        if not self.lost and target.links.get(source.key) is self:
            self.world.note(b"frame", source.number, target.number, raw)
            target.receive(self, raw)
