"""What the simulated network is like: delays, how soon breaks are noticed, how wrong clocks are."""

from __future__ import annotations

from msgspec import Struct

EPOCH_MS = 1_750_000_000_000  # right wall clocks at virtual time 0: some day in June 2025

Range = tuple[float, float]
"""Least and most, in seconds; each time a value between them is drawn from the simulation's seed."""


class Weather(Struct, frozen=True, kw_only=True):
    """The conditions of a `Simulation`. A link is an ordered pipe, as TCP is: nothing on it is lost or overtaken while
    it lives; it gets slow, or it breaks. Different links reorder freely among each other.
    """

    delay: Range = (0.001, 0.08)
    """One way, drawn for each link; so a record over one link overtakes its cause over another."""
    jitter: float = 0.5
    """Each frame takes up to this share of the delay longer."""
    bandwidth: float = 12.5e6
    """Bytes a second of each link, each way."""
    outbox_bytes: int = 4 * 1024 * 1024
    """More than this on its way over one link closes it, as the node does with a peer that reads too slowly. Less than
    one answer (2 MiB) would never let a late joiner catch up."""
    dial: Range = (0.02, 1.0)
    """From the moment that two peers could be linked until they are."""
    redial_refused: Range = (5.0, 10.0)
    """The same after an end closed the link on purpose."""
    notice: Range = (0.0, 3.0)
    """How long after a break each end learns of it; what it sends until then is lost."""
    lose_in_flight: bool = True
    """A break loses what is on its way. False: what was sent before the break still arrives."""
    skew: float = 7200.0
    """Each peer's wall clock is wrong by up to so many seconds, either way."""


CALM = Weather(delay=(0.001, 0.002), jitter=0.0, dial=(0.01, 0.02), notice=(0.0, 0.01), skew=0.0)
"""A quiet LAN with right clocks: for tests of programs rather than of the network."""
