"""The three ways to ask a router for a port: PCP, NAT-PMP, UPnP. Each either gets a lease or says why not."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from sandpiper.config.addresses import Address
from sandpiper.errors import LinkError, RemoteProtocolError
from sandpiper.net.portmap.asking import fetch, find_description, first_answer
from sandpiper.wire import igd, portmap
from sandpiper.wire.portmap import Here, Mapped, NotMapped, Outside

if TYPE_CHECKING:
    from sandpiper.net.portmap.gateway import Gateway

MAX_PORT_TRIES = 4  # outside ports that are tried with UPnP, where the router does not choose one itself
OTHER_PORTS = range(20_000, 60_000)  # of these


class Refused(LinkError):
    """A router does not map the port. `number` is its own for why."""

    code = "not_mapped"

    def __init__(self, why: str, number: int = 0) -> None:
        super().__init__(f"The router refuses: {why}.")
        self.number = number


class Lease(Struct, frozen=True):
    """What a router has granted: it passes `outside` on for `seconds` (0: until it is ended)."""

    outside: Address
    seconds: int


class Way(Protocol):
    """One protocol, to one router."""

    name: str

    async def look(self) -> str:
        """The router's outside address (empty: it does not tell), changing nothing.

        Raises:
            LinkError: the router does not answer, or refuses.
            RemoteProtocolError: its answers make no sense.
        """
        ...

    async def ask(self, internal: int, outside: Address | None, seconds: int) -> Lease:
        """Have TCP passed on to our port `internal` for `seconds`; from `outside`, if that can be had. Again, to renew
        it. Raises as `look`.
        """
        ...

    async def release(self, internal: int, outside: Address | None) -> None:
        """Have it passed on no longer; also (None) when `ask` was given up before its answer. Raises as `look`."""
        ...


class Pcp:
    """RFC 6887."""

    name = "PCP"

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._nonce = os.urandom(portmap.NONCE_BYTES)

    async def look(self) -> str:
        """See `Way.look`. That it is there is all that it tells."""

        def accept(raw: bytes) -> Here | NotMapped | None:
            answer = portmap.decode_answer(raw)
            return answer if isinstance(answer, Here | NotMapped) else None

        answer = await first_answer(self._gateway, portmap.announce_request(self._gateway.own), accept)
        if isinstance(answer, NotMapped) and (answer.way != "pcp" or answer.code == portmap.UNKNOWN_VERSION):
            raise Refused(answer.text, answer.code)
        return ""  # a router that knows no announcements has said so in PCP

    async def ask(self, internal: int, outside: Address | None, seconds: int) -> Lease:
        """See `Way.ask`."""
        answer = await self._map(internal, outside, seconds)
        if not answer.seconds:
            raise Refused("it maps the port for no time at all")
        return Lease(answer.outside, answer.seconds)

    async def release(self, internal: int, outside: Address | None) -> None:
        """See `Way.release`."""
        await self._map(internal, outside, 0)

    async def _map(self, internal: int, outside: Address | None, seconds: int) -> Mapped:
        def accept(raw: bytes) -> Mapped | NotMapped | None:
            match portmap.decode_answer(raw):
                # Who does not see our questions cannot know the nonce, so it cannot answer for the router. One that
                # knows only NAT-PMP answers without.
                case Mapped(way="pcp", nonce=self._nonce) as mapped if mapped.internal == internal:
                    return mapped
                case NotMapped(nonce=nonce) as refusal if nonce in (b"", self._nonce):
                    return refusal
                case _:
                    return None

        request = portmap.map_request(self._gateway.own, self._nonce, internal, outside, seconds)
        return _granted(await first_answer(self._gateway, request, accept))


class NatPmp:
    """RFC 6886."""

    name = "NAT-PMP"

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def look(self) -> str:
        """See `Way.look`."""

        def accept(raw: bytes) -> Outside | NotMapped | None:
            match portmap.decode_answer(raw):
                case Outside() as outside:
                    return outside
                case NotMapped(way="natpmp") as refusal:
                    return refusal
                case _:
                    return None

        answer: Outside | NotMapped = await first_answer(self._gateway, portmap.pmp_outside_request(), accept)
        if isinstance(answer, NotMapped):
            raise Refused(answer.text, answer.code)
        return answer.host

    async def ask(self, internal: int, outside: Address | None, seconds: int) -> Lease:
        """See `Way.ask`."""
        host = await self.look()
        answer = await self._map(internal, internal if outside is None else outside.port, seconds)
        if not answer.seconds:
            raise Refused("it maps the port for no time at all")
        return Lease(Address(host, answer.outside.port), answer.seconds)

    async def release(self, internal: int, outside: Address | None) -> None:
        """See `Way.release`."""
        await self._map(internal, 0, 0)

    async def _map(self, internal: int, external: int, seconds: int) -> Mapped:
        def accept(raw: bytes) -> Mapped | NotMapped | None:
            match portmap.decode_answer(raw):
                case Mapped(way="natpmp", internal=port) as mapped if port == internal:
                    return mapped
                case NotMapped(way="natpmp") as refusal:
                    return refusal
                case _:
                    return None

        request = portmap.pmp_map_request(internal, external, seconds)
        return _granted(await first_answer(self._gateway, request, accept))


def _granted(answer: Mapped | NotMapped) -> Mapped:
    if isinstance(answer, NotMapped):
        raise Refused(answer.text, answer.code)
    return answer


class Upnp:
    """UPnP's Internet Gateway Device, versions 1 and 2."""

    name = "UPnP"

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._service: igd.Service | None = None

    async def look(self) -> str:
        """See `Way.look`."""
        service = await self._found()
        return igd.outside_of(await self._call(service, igd.call(service, "GetExternalIPAddress")))

    async def ask(self, internal: int, outside: Address | None, seconds: int) -> Lease:
        """See `Way.ask`."""
        host, service = await self.look(), await self._found()
        external = internal if outside is None else outside.port
        for _ in range(MAX_PORT_TRIES):
            request = igd.add_mapping(service, self._gateway.own, internal, external, seconds)
            try:
                await self._call(service, request)
            except Refused as exc:
                match exc.number:
                    case igd.ONLY_PERMANENT if seconds:
                        seconds = 0  # ended by us when we end; after a crash, taken over by our next start
                    case igd.CONFLICT:
                        external = random.SystemRandom().choice(OTHER_PORTS)
                    case igd.SAME_PORTS if external != internal:
                        external = internal
                    case _:
                        raise
                continue
            return Lease(Address(host, external), seconds)
        raise Refused("the ports that were tried are somebody else's", igd.CONFLICT)

    async def release(self, internal: int, outside: Address | None) -> None:
        """See `Way.release`."""
        if self._service is not None:  # else nothing has been asked for
            external = internal if outside is None else outside.port
            await self._call(self._service, igd.delete_mapping(self._service, external))

    async def _found(self) -> igd.Service:
        if self._service is None:
            page = await find_description(self._gateway)
            reply = await fetch(self._gateway, page, igd.get(page))
            if reply.status != 200:
                raise Refused(f"it answers {reply.status}", reply.status)
            self._service = igd.service_of(reply.body, page)
        return self._service

    async def _call(self, service: igd.Service, request: bytes) -> dict[str, str]:
        found = igd.outcome(await fetch(self._gateway, service.url, request))
        if isinstance(found, igd.Fault):
            raise Refused(found.text, found.code)
        return found


WAYS: tuple[type[Pcp] | type[NatPmp] | type[Upnp], ...] = (Pcp, NatPmp, Upnp)
"""The best first: it tells most, and takes the least trust and time."""


class Offer(Struct, frozen=True):
    """Whether a router speaks one of the protocols; if not, `text` is a sentence that says why. `outside` is its
    outside address, empty where it does not tell.
    """

    name: str
    answers: bool = True
    outside: str = ""
    text: str = ""


async def offers_of(gateway: Gateway) -> tuple[Offer, ...]:
    """What a router answers, by all protocols at once, in about two seconds at most; nothing is changed."""
    return tuple(await asyncio.gather(*(_offer(way(gateway)) for way in WAYS)))


async def _offer(way: Way) -> Offer:
    try:
        return Offer(way.name, outside=await way.look())
    except (LinkError, RemoteProtocolError) as exc:
        return Offer(way.name, answers=False, text=str(exc))
