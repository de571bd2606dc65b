"""Bad weather on a schedule: partitions, crashes, restarts and broken links at random, while people talk."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sandpiper.errors import UsageError
from sandpiper.testing.simulation.peer import Crashed, SimPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.testing.simulation.world import Simulation


class Storm:
    """Plan a random storm over a simulation, from its seed: `Storm(sim, seconds=30)` and then run the simulation.

    Until it is over, the network is cut into pieces and healed again, links break, peers crash (some of them in the
    middle of a write) and come back, and `texts` messages and a few topics are posted, each by a random peer into one
    of its `rooms`. At the end of it the network is healed, and all peers but `stay_down` of them are started again.
    """

    def __init__(
        self, sim: Simulation, *, seconds: float, texts: int = 40, cuts: int = 4, breaks: int = 10, crashes: int = 6,
        stay_down: int = 0, rooms: tuple[str, ...] = ("lobby",),
    ) -> None:  # fmt: skip
        self.sim = sim
        self.rooms = rooms
        self.posted: list[tuple[int, bytes]] = []
        """(index of the author, id) of each record that the author was told is posted."""
        self.stay_down = stay_down
        self._rng = random.Random(f"sandpiper storm {sim.seed}")
        self._texts = 0
        plan: list[tuple[int, Callable[[], None]]] = [
            (texts, self._talk),
            (texts // 10, self._topic),
            (texts // 10, self._nick),
            (cuts, self._cut),
            (cuts // 2, sim.heal),
            (breaks, self._break),
            (crashes, self._crash),
            (crashes, self._restart),
        ]
        start = sim.now
        for times, do in plan:
            for _ in range(times):
                sim.at(start + self._rng.uniform(0, seconds), do)
        sim.at(start + seconds, self._end)

    # ------------------------------------------------------------ what people do

    def _talk(self) -> None:
        # A burst by one peer: several records of one author in a row, some in the same instant.
        peer = self._any()
        for _ in range(self._rng.choice((1, 1, 1, 2, 5))):
            self._texts += 1
            self._post(peer, lambda room: peer.say(room, f"text {self._texts}").id)

    def _topic(self) -> None:
        peer = self._any()
        self._texts += 1
        self._post(peer, lambda room: peer.set_topic(room, f"topic {self._texts}").id)

    def _nick(self) -> None:
        peer = self._any()
        if peer.alive:
            self._texts += 1
            peer.set_nick(f"nick{self._texts}")

    def _post(self, peer: SimPeer, post: Callable[[str], bytes]) -> None:
        try:
            self.posted.append((peer.index, post(self._rng.choice(self.rooms))))
        except (Crashed, UsageError):
            return  # it is down, or not in that room

    # ------------------------------------------------------------ what happens to them

    def _any(self) -> SimPeer:
        return self._rng.choice(self.sim.peers)

    def _cut(self) -> None:
        pieces: list[list[int]] = [[] for _ in range(self._rng.choice((2, 2, 2, 3, 4)))]
        for peer in self.sim.peers:
            self._rng.choice(pieces).append(peer.index)
        self.sim.partition(pieces)

    def _break(self) -> None:
        one, other = self._rng.sample(range(len(self.sim.peers)), 2)
        self.sim.break_between(one, other)

    def _crash(self) -> None:
        peer = self._any()
        if peer.alive:
            self.sim.crash(peer.index, while_writing=self._rng.random() < 0.5)

    def _restart(self) -> None:
        down = [peer for peer in self.sim.peers if not peer.alive]
        if down:
            self.sim.restart(self._rng.choice(down).index)

    def _end(self) -> None:
        self.sim.heal()
        for peer in self.sim.peers:
            peer.die_while_writing(never=True)
        victims = self._rng.sample(self.sim.peers, self.stay_down)
        for peer in self.sim.peers:
            if peer in victims and peer.alive:
                self.sim.crash(peer.index)
            elif peer not in victims and not peer.alive:
                self.sim.restart(peer.index)
