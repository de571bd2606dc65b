"""Keeps our listening port passed on by the router: asks, renews, asks anew elsewhere, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from sandpiper.errors import LinkError, RemoteProtocolError
from sandpiper.net.portmap.gateway import Gateway, NoGateway
from sandpiper.net.portmap.ways import WAYS, Lease, Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.config.addresses import Address

log = logging.getLogger(__name__)

RELEASE_SECONDS = 1.5  # at the end: nobody waits longer for a router that is gone
UNASKED_SECONDS = 0.3  # where it may not have done anything, and most likely does not listen at all
NOT_WANTED = "No port is mapped: none is wanted."


class Times(Struct, frozen=True):
    """In seconds. `lease` is asked for: what a crash leaves behind ends after it. `least` is between two renewals,
    whatever the router says; `look` between two looks at whether the router is still the same; `again` after a refusal.
    """

    lease: int = 1200
    least: float = 15.0
    look: float = 30.0
    again: float = 300.0


class _Held(Struct, frozen=True):
    """A lease and of whom it is; times of `time.monotonic`."""

    gateway: Gateway
    way: Way
    lease: Lease
    renew_at: float
    ends_at: float


class PortMapping:
    """A port of ours on the router. `find` gives the router or raises `NoGateway`; it is called on a thread. `changed`
    is called whenever `mapped` has. Make it on the event loop; errors of the network end in `reason`.
    """

    def __init__(
        self,
        port: int,
        tasks: asyncio.TaskGroup,
        find: Callable[[], Gateway],
        changed: Callable[[], None],
        times: Times = Times(),  # noqa: B008 - frozen
    ) -> None:
        self.mapped: Address | None = None
        """Where the internet reaches our port; None: nowhere."""
        self.reason = NOT_WANTED
        """Why that is so, in a sentence."""
        self._port = port
        self._tasks = tasks
        self._find = find
        self._changed = changed
        self._times = times
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._again = asyncio.Event()
        self._held: _Held | None = None
        self._asking: Way | None = None  # and not answered yet
        self._gateway: Gateway | None = None
        self._try_at = 0.0
        self._doubted = False

    def want(self, wanted: bool) -> None:
        """Have the port mapped from now on, or no longer."""
        if wanted and self._task is None:
            self.reason = "The router is being asked."
            self._task = self._tasks.create_task(self._keep(self._ending), name="port mapping")
        elif not wanted and self._task is not None:
            self._task.cancel()
            self._ending, self._task = self._task, None

    @property
    def ending(self) -> bool:
        """The router is still being told that the port is wanted no longer."""
        return self._ending is not None and not self._ending.done()

    def again(self) -> None:
        """The network may have changed, or the machine has slept: ask again at once."""
        self._doubted = True
        self._again.set()

    async def close(self) -> None:
        """End the mapping, and wait until that is done or has taken `RELEASE_SECONDS`."""
        self.want(False)
        if self._ending is not None:
            await asyncio.wait({self._ending})

    async def _keep(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():  # its last word would end our mapping
            await asyncio.wait({before})
        try:
            while True:
                self._again.clear()
                wait = await self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._again.wait()
        finally:
            held, self._held, self._gateway = self._held, None, None
            asking, self._asking = self._asking, None
            self._tell(None, NOT_WANTED)
            if held is not None:
                await _release(held.way, self._port, held.lease.outside)
            elif asking is not None:  # the router may have done it by now
                await _release(asking, self._port, None, UNASKED_SECONDS)

    async def _look(self) -> float:
        """Do what is due; the seconds until the next look."""
        try:
            gateway = await asyncio.to_thread(self._find)
        except NoGateway as exc:
            self._gateway = self._held = None
            self._tell(None, str(exc))
            return self._times.look
        now = time.monotonic()
        doubted, self._doubted = self._doubted, False
        if doubted and self._held is not None:
            self._held = structs.replace(self._held, ends_at=now)  # for all that we know
        if gateway != self._gateway:
            self._held = None  # that router cannot be reached any more, or is not ours
        if doubted or gateway != self._gateway:
            self._gateway, self._try_at = gateway, now
        if now >= self._try_at:
            await self._ask(gateway, now)
        return max(0.05, min(self._times.look, self._try_at - time.monotonic()))

    async def _ask(self, gateway: Gateway, now: float) -> None:
        held, why = self._held, ""
        # A known way first, and it alone while its lease lasts: a second one would be a second hole.
        ways = [way(gateway) for way in WAYS] if held is None else [held.way]
        for way in ways:
            self._asking = way
            try:
                lease = await way.ask(self._port, held.lease.outside if held is not None else None, self._times.lease)
            except (LinkError, RemoteProtocolError) as exc:
                log.info("port mapping by %s: %s", way.name, exc)
                why = f"{why} {way.name}: {exc}".strip()
                continue
            self._asking = None
            self._granted(_Held(gateway, way, lease, *self._ends(lease, now)))
            return
        self._asking = None
        if held is not None and held.ends_at > now + self._times.least:
            self._try_at = now + max(self._times.least, (held.ends_at - now) / 2)
            return
        self._held = None
        self._try_at = now + (self._times.again if held is None else 0.0)
        self._tell(None, f"The router passes no port on. {why}")

    def _ends(self, lease: Lease, now: float) -> tuple[float, float]:
        """When to renew a lease, and when it ends."""
        seconds = min(lease.seconds, self._times.lease) if lease.seconds else self._times.lease
        return now + max(self._times.least, seconds / 2), now + seconds

    def _granted(self, held: _Held) -> None:
        self._held, self._try_at = held, held.renew_at
        outside = held.lease.outside
        if ip_address(outside.host).is_global:
            self._tell(outside, f"The router passes {outside} on ({held.way.name}).")
            return
        # Nobody outside can dial it, and those on the network in between should not be able to.
        self._held, self._try_at = None, time.monotonic() + self._times.again
        self._tell(None, f"The router's outside address, {outside.host}, is no public one: another NAT is behind it.")
        self._tasks.create_task(_release(held.way, self._port, outside), name="port unmapping")

    def _tell(self, mapped: Address | None, reason: str) -> None:
        before, self.mapped, self.reason = self.mapped, mapped, reason
        if mapped != before:
            log.info("port mapping: %s", reason)
            self._changed()


async def _release(way: Way, port: int, outside: Address | None, seconds: float = RELEASE_SECONDS) -> None:
    """End a lease; a router that does not answer ends it by itself."""
    try:
        async with asyncio.timeout(seconds):
            await way.release(port, outside)
    except (LinkError, RemoteProtocolError, TimeoutError) as exc:
        log.info("port unmapping by %s: %s", way.name, exc)
