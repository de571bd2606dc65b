"""100 seeds x 20 peers x random partitions, crashes, restarts: always convergence, no duplicates, causal order kept.

A failing seed is in the test's name and in its message. To run one, or some others:

    SANDPIPER_SIM_SEED=17 make sim
    SANDPIPER_SIM_SEEDS=1000-1999 make sim      (also: 3,5,8)
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sandpiper.testing.simulation import Simulation, Storm
from tests.sim.checks import (
    LOBBY,
    Honest,
    check_causal,
    check_converged,
    check_no_fork,
    check_nothing_lost,
    check_told_once,
    replay,
)

LIMIT = 900.0  # seconds of virtual time


def seeds() -> list[int]:
    wanted = os.environ.get("SANDPIPER_SIM_SEED") or os.environ.get("SANDPIPER_SIM_SEEDS") or "0-99"
    out: list[int] = []
    for part in wanted.split(","):
        first, _, last = part.partition("-")
        out += range(int(first), int(last or first) + 1)
    return out


def storm(seed: int, peers: int = 20) -> tuple[Simulation, Storm, Honest]:
    sim = Simulation(seed, peers=peers)
    honest = Honest(sim)
    # Every third network loses some of its peers for good.
    return sim, Storm(sim, seconds=30, stay_down=3 if seed % 3 == 0 else 0), honest


@pytest.mark.parametrize("seed", seeds())
def test_all_peers_converge_after_partitions_crashes_and_restarts(seed: int) -> None:
    sim, weather, honest = storm(seed)
    assert sim.run_until_quiet(LIMIT), f"still something new after {LIMIT} s{replay(sim)}"
    history = check_converged(sim)
    check_causal(sim, history)
    check_told_once(sim)
    check_no_fork(sim, history)
    check_nothing_lost(sim, weather.posted)
    assert len(weather.posted) > 20, f"the storm left nothing to say{replay(sim)}"
    assert honest.seen, f"no delivery was told{replay(sim)}"
    topics = {peer.room(LOBBY).topic for peer in sim.peers if peer.alive}
    assert len(topics) == 1, f"topics differ: {topics}{replay(sim)}"
    nicks = {tuple(sorted(peer.room(LOBBY).nicks.items())) for peer in sim.peers if peer.alive}
    assert len(nicks) == 1, f"nicks differ{replay(sim)}"
    waiting = sum(len(peer.room(LOBBY).pending) for peer in sim.peers if peer.alive)
    assert not waiting, f"{waiting} records still wait for a parent{replay(sim)}"


REPLAY = """
from sandpiper.testing.simulation import Simulation, Storm
sim = Simulation(5, peers=8)
Storm(sim, seconds=20)
sim.run_until(40)
print(sim.trace_digest())
"""


def test_a_seed_replays_exactly_whatever_order_hashes_have() -> None:
    # Sets of bytes are iterated in another order in each of these processes.
    digests = {
        subprocess.run(
            [sys.executable, "-c", REPLAY],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


def test_another_seed_gives_another_run() -> None:
    one, other = Simulation(1, peers=3), Simulation(2, peers=3)
    one.run_until(5)
    other.run_until(5)
    assert one.trace_digest() != other.trace_digest()
