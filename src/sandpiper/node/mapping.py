"""Our ports on the router: one for each connection to a rendezvous, where members dial us (`node/reaching.py`)."""

from __future__ import annotations

import asyncio
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from sandpiper.net.portmap import PortMapping, Times, find_gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.config import Address
    from sandpiper.net.portmap import Gateway
    from sandpiper.wire.rendezvous import Observed

NONE_WANTED = "No port is mapped: no relay out on the internet is in use."


class MappedPorts:
    """All of them. `changed(port, address)` is called when the internet reaches `port` of ours at `address`, or (None)
    no longer. `find` as in `PortMapping`. Make it on the event loop.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        find: Callable[[], Gateway],
        changed: Callable[[int, Address | None], None],
        times: Times = Times(),  # noqa: B008 - frozen
    ) -> None:
        self._tasks = tasks
        self._find = find
        self._changed = changed
        self._times = times
        self._ports: dict[str, tuple[int, PortMapping]] = {}  # by rendezvous
        self._ended: list[PortMapping] = []

    @property
    def reason(self) -> str:
        """Why ports are mapped or not, in a sentence: the newest rendezvous' one stands for all."""
        return next((one.reason for _, one in reversed(self._ports.values())), NONE_WANTED)

    def online(self, place: str, own: Address, seen: Observed) -> None:
        """A connection to a rendezvous goes out from this address of ours, and is seen there so. One that is on our own
        network, or on this machine, needs no port on the router, and nobody out there should have it.
        """
        port = own.port
        if place in self._ports and self._ports[place][0] == port:
            return
        self.offline(place)
        if ip_address(own.host).is_loopback or not (seen.tunnel or _is_public(seen.host)):
            return
        one = PortMapping(port, self._tasks, self._find, lambda: self._changed(port, one.mapped), self._times)
        self._ports[place] = port, one
        one.want(True)

    def offline(self, place: str) -> None:
        """That connection has ended."""
        _, one = self._ports.pop(place, (0, None))
        if one is not None:
            one.want(False)
            self._ended = [before for before in self._ended if before.ending] + [one]

    def again(self) -> None:
        """The network may have changed, or the machine has slept: ask again at once."""
        for _, one in self._ports.values():
            one.again()

    async def close(self) -> None:
        """Give all ports back; waits no longer than `net.portmap.keeping.RELEASE_SECONDS`."""
        for place in tuple(self._ports):
            self.offline(place)
        await asyncio.gather(*(one.close() for one in self._ended))


def _is_public(host: str) -> bool:
    try:
        return ip_address(host).is_global
    except ValueError:
        return False


def mapped_ports(
    tasks: asyncio.TaskGroup, interfaces: tuple[str, ...], changed: Callable[[int, Address | None], None]
) -> MappedPorts:
    """Those on the router of one of these interfaces (none: of any)."""
    return MappedPorts(tasks, partial(find_gateway, interfaces), changed)
