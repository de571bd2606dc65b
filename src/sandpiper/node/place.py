"""One rendezvous of a node: the connection to it, what we are there for, and the numbers that it gives us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandpiper.errors import LinkError, LinkTimeout
from sandpiper.net.relays import NoRelay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandpiper.core.rendezvous import Introduced, RoomName
    from sandpiper.net.relays import RelayAddress
    from sandpiper.net.rendezvous import RendezvousLink

NAMEPLATE_SECONDS = 12.0  # for a relay to give a nameplate: a far one answers within two


class Place:
    """One rendezvous, and what is known of it."""

    def __init__(self, relay: RelayAddress) -> None:
        self.relay = relay
        self.name = relay.spelled
        """What tells it from others. One with another pin is another one: what a peer says changes nothing of ours."""
        self.shown = str(relay)
        self.guest: Introduced
        self.link: RendezvousLink
        self.task: asyncio.Task[None] | None = None
        self.registered: frozenset[RoomName] = frozenset()
        self.sought: dict[str, dict[str, None]] = {}
        """Nameplates that somebody here looks for, and who has said to answer for them."""
        self.refused: set[str] = set()
        """Nameplates of these that nobody has."""
        self.inside: set[RoomName] = set()
        """Where we are registered by now."""
        self.makes: list[asyncio.Future[str]] = []
        self.up = False
        self.failures = 0
        """Tries to connect that have failed since it was there last."""
        self.down_told = False
        self.renewing = False
        """We have hung up ourselves, to come again from another port: nobody is told."""

    async def nameplate(self, moved: Callable[[float], Awaitable[None]]) -> str:
        """A nameplate that is ours here; register it by opening a code. `moved(seconds)` waits until something has
        happened at a rendezvous, but not longer.

        Raises:
            LinkError: the relay cannot be reached, or gives none.
        """
        made: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.makes.append(made)
        self.guest.create_room()
        self.link.carry_out()
        try:
            async with asyncio.timeout(NAMEPLATE_SECONDS):
                while not made.done():
                    if self.link.problem is not None and not self.up:
                        raise no_relay(self)
                    await moved(NAMEPLATE_SECONDS)
                return made.result()
        except TimeoutError as exc:
            raise LinkTimeout(f"The relay {self.shown} does not give a code in time.", hint="Try again.") from exc
        finally:
            if made in self.makes:
                self.makes.remove(made)


def no_relay(place: Place) -> LinkError:
    """Why a rendezvous cannot be reached."""
    problem = place.link.problem
    text = str(problem) if problem is not None else f"No relay could be reached: {place.shown} does not answer."
    hint = problem.hint if problem is not None else ""
    return NoRelay(text, hint=hint or "Check the address, and the connection to the internet.")
