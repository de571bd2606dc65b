"""A deterministic simulation: many real engines, virtual time, one seed. Start with `Simulation`.

For tests of programs built on Sandpiper (and of Sandpiper): bots, bridges, other faces. What a bot does on a notice
goes into `SimPeer.watch`; what the network does to it comes from `Simulation.partition`, `crash` and so on, or all at
once from a `Storm`. A failing run is replayed by its seed, and compared by `Simulation.trace_digest`.
"""

from __future__ import annotations

from sandpiper.testing.simulation.disk import Disk
from sandpiper.testing.simulation.link import End, Link
from sandpiper.testing.simulation.peer import Crashed, SimPeer
from sandpiper.testing.simulation.storm import Storm
from sandpiper.testing.simulation.stranger import Stranger
from sandpiper.testing.simulation.weather import CALM, EPOCH_MS, Weather
from sandpiper.testing.simulation.world import Simulation

__all__ = [
    "CALM",
    "EPOCH_MS",
    "Crashed",
    "Disk",
    "End",
    "Link",
    "SimPeer",
    "Simulation",
    "Storm",
    "Stranger",
    "Weather",
]
