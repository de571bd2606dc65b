"""Any order of talking, cutting, healing, crashing, joining and leaving: hypothesis looks for one that breaks it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from sandpiper.errors import UsageError
from sandpiper.testing.simulation import Crashed, Simulation
from tests.sim.checks import (
    LOBBY,
    Honest,
    check_causal,
    check_converged,
    check_no_fork,
    check_nothing_lost,
    check_told_once,
)

PEERS = 4
peers = st.integers(0, PEERS - 1)


class Network(RuleBasedStateMachine):
    """Four peers; whatever was done to them, they agree once they are left in peace."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.sim = Simulation(seed, peers=PEERS)
        self.honest = Honest(self.sim)
        self.posted: list[tuple[int, bytes]] = []
        self.said = 0

    @rule(peer=peers, times=st.integers(1, 4))
    def talk(self, peer: int, times: int) -> None:
        for _ in range(times):
            self.said += 1
            try:
                self.posted.append((peer, self.sim.peers[peer].say("lobby", f"{self.said}").id))
            except (Crashed, UsageError):
                return

    @rule(peer=peers)
    def set_topic(self, peer: int) -> None:
        try:
            self.posted.append((peer, self.sim.peers[peer].set_topic("lobby", f"topic {self.said}").id))
        except (Crashed, UsageError):
            return

    @rule(seconds=st.sampled_from((0.01, 0.1, 0.5, 2.0, 12.0, 40.0)))
    def wait(self, seconds: float) -> None:
        self.sim.run_for(seconds)

    @rule(side=st.lists(peers, min_size=1, max_size=PEERS - 1, unique=True))
    def cut(self, side: list[int]) -> None:
        self.sim.partition([side])

    @rule()
    def heal(self) -> None:
        self.sim.heal()

    @rule(one=peers, other=peers)
    def break_one(self, one: int, other: int) -> None:
        self.sim.break_between(one, other)

    @precondition(lambda self: any(peer.alive for peer in self.sim.peers))
    @rule(peer=peers, while_writing=st.booleans())
    def crash(self, peer: int, while_writing: bool) -> None:
        if self.sim.peers[peer].alive:
            self.sim.crash(peer, while_writing=while_writing)

    @rule(peer=peers)
    def restart(self, peer: int) -> None:
        self.sim.restart(peer)

    @rule(peer=peers)
    def leave(self, peer: int) -> None:
        try:
            self.sim.peers[peer].leave("lobby")
        except (Crashed, UsageError):
            return

    @rule(peer=peers)
    def join(self, peer: int) -> None:
        try:
            self.sim.peers[peer].join("lobby")
        except Crashed:
            return

    @invariant()
    def every_disk_is_whole(self) -> None:
        if hasattr(self, "sim"):
            for peer in self.sim.peers:
                check_causal(self.sim, peer.history("lobby"))
            check_told_once(self.sim)

    @override
    def teardown(self) -> None:
        if not hasattr(self, "sim"):
            return
        for peer in self.sim.peers:
            peer.die_while_writing(never=True)
            self.sim.restart(peer.index)
            peer.join("lobby")
        self.sim.heal()
        assert self.sim.run_until_quiet(600)
        history = check_converged(self.sim)
        check_causal(self.sim, history)
        check_no_fork(self.sim, history)
        check_nothing_lost(self.sim, self.posted)
        check_told_once(self.sim)
        assert len({peer.room(LOBBY).topic for peer in self.sim.peers}) == 1


TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=150, stateful_step_count=30, deadline=None, print_blob=True)
