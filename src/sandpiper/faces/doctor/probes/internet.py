"""Looks beyond the LAN: every relay of the settings and how it sees us, IPv6, and what the router answers.

Nothing is asked when no relay is configured. A relay is only asked how it sees us: no room is made or entered there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from sandpiper.config import Address
from sandpiper.core.rendezvous import nat_kind
from sandpiper.errors import ConfigError, DialFailed, LinkError, RemoteProtocolError, TrustError, UsageError
from sandpiper.faces.doctor.facts import (
    Fate,
    Internet,
    Offered,
    RelaySeen,
    RelayState,
    Router,
    SecondFate,
    Unasked,
)
from sandpiper.net.portmap import NoGateway, find_gateway, offers_of
from sandpiper.net.proxies import proxy_for
from sandpiper.net.relays import open_way, parse_relay
from sandpiper.net.rendezvous import observe, observed_over
from sandpiper.net.tcp import dial, format_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.config import Settings
    from sandpiper.errors import SandpiperError
    from sandpiper.faces.doctor.facts import Cards
    from sandpiper.net.proxies import Proxy
    from sandpiper.net.relays import RelayAddress, Way
    from sandpiper.wire.rendezvous import Observed

RELAY_SECONDS = 6.0  # for everything with one relay: the other side of the world, through a proxy, takes two
SECOND_SECONDS = 3.0  # for its second port, which a firewall may drop
MAX_RELAYS = 8  # as many as a node uses


async def probe_internet(settings: Settings, cards: Cards) -> Internet:
    """Ask all relays at once, and the router. `cards` are our interfaces."""
    if not settings.relay:
        return Internet()
    v6 = [
        address
        for card in cards.cards
        if card.lan and card.used
        for address in card.addresses
        if ":" in address and ipaddress.ip_address(address).is_global
    ]
    names = list(dict.fromkeys(settings.relay))[:MAX_RELAYS]
    async with asyncio.TaskGroup() as tasks:
        seen = [tasks.create_task(_relay(name, by_v6=bool(v6)), name="relay") for name in names]
        router = tasks.create_task(_router(settings), name="router")
    return Internet(relays=tuple(task.result() for task in seen), v6=tuple(v6), router=router.result())


# ---------------------------------------------------------------- a relay


async def _relay(text: str, *, by_v6: bool) -> RelaySeen:
    """How far we get with a relay, as it is configured."""
    try:
        relay = parse_relay(text)
    except UsageError as exc:
        return RelaySeen(name=text, state="address", text=str(exc), hint=exc.hint)
    name = str(relay)
    try:
        proxy = proxy_for(relay.host)
    except ConfigError as exc:
        return RelaySeen(name=name, state="proxy", text=str(exc), hint=exc.hint)
    via = format_address(proxy.host, proxy.port) if proxy is not None else ""
    failed = partial(_failed, name, via)
    addresses: list[str] | None = None
    try:
        async with asyncio.timeout(RELAY_SECONDS):
            if proxy is None:
                addresses = await _addresses(relay)
                if not addresses:
                    return RelaySeen(name=name, state="name", text=f"The name {relay.host} could not be found.")
            start = time.perf_counter()
            way = await open_way(relay, proxy)
            connected = (time.perf_counter() - start) * 1000
            try:
                return await _asked(relay, proxy, way, addresses or [], connected, by_v6=by_v6)
            finally:
                way.pipe.abort()
    except TimeoutError:
        if proxy is None and addresses is None:
            text = f"No name server tells where {relay.host} is."
            return RelaySeen(name=name, state="name", text=text, hint="Look whether this machine is on the internet.")
        return RelaySeen(
            name=name,
            state="proxy" if via else "unreachable",
            text=f"No answer from {name} within {RELAY_SECONDS:.0f} s.",
            proxy=via,
        )
    except TrustError as exc:
        return failed("certificate", exc)
    except DialFailed as exc:
        return failed("proxy" if via else "unreachable", exc)
    except (LinkError, RemoteProtocolError) as exc:
        return failed("stranger", exc)


def _failed(name: str, via: str, state: RelayState, exc: SandpiperError) -> RelaySeen:
    return RelaySeen(name=name, state=state, text=str(exc), hint=exc.hint, proxy=via)


async def _asked(
    relay: RelayAddress, proxy: Proxy | None, way: Way, addresses: list[str], connected: float, *, by_v6: bool
) -> RelaySeen:
    """How a relay that is connected to sees us.

    Raises:
        LinkError: it breaks off.
        RemoteProtocolError: it is no relay.
    """
    start, before = time.perf_counter(), time.time()
    first = await observed_over(way, relay)
    round_trip = time.perf_counter() - start
    proxies: Callable[[str], Proxy | None] = lambda _host: proxy  # noqa: E731
    second: Observed | None = None
    second_fate: SecondFate = "same" if first.second_port == relay.port else "untried"
    if first.second_port not in (0, relay.port) and proxy is None and not first.tunnel:
        second_fate = "failed"
        try:
            async with asyncio.timeout(SECOND_SECONDS):
                second = await observe(relay._replace(port=first.second_port), proxies, local_port=way.port)
            second_fate = "ok"
        except (LinkError, RemoteProtocolError, TrustError, TimeoutError):
            pass  # the finding says what it means
    far = next((host for host in addresses if (":" in host) == (":" in way.host)), "")
    return RelaySeen(
        name=str(relay),
        port=relay.port,
        proxy=format_address(proxy.host, proxy.port) if proxy is not None else "",
        connect_ms=connected,
        round_ms=round_trip * 1000,
        own=way.host,
        outside=Address(first.host, first.port),
        second=Address(second.host, second.port) if second is not None else None,
        second_port=second_fate,
        # A proxy is where the relay sees us; what stands between us and it does not show.
        nat="unknown" if proxy is not None else nat_kind(way.host, first, second, far=far),
        tunnel=first.tunnel,
        bridges=first.relay,
        v6=await _by_v6(relay, addresses) if by_v6 else "untried",
        skew=first.time / 1000 - before - round_trip / 2 if first.time else None,
    )


async def _addresses(relay: RelayAddress) -> list[str]:
    """All that the name of a relay stands for. A name server that does not answer is given up on by our caller; the
    system goes on asking it for long, so it is asked on a thread that nobody waits for.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def ask() -> None:
        found: list[str] = []
        with contextlib.suppress(OSError, UnicodeError):
            told = socket.getaddrinfo(relay.host, relay.port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(address[0]) for _, _, _, _, address in told))
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if answer.done() else answer.set_result(found))

    threading.Thread(target=ask, name=f"name {relay.host}", daemon=True).start()
    return await answer


async def _by_v6(relay: RelayAddress, addresses: list[str]) -> Fate:
    host = next((host for host in addresses if ":" in host), None)
    if host is None:
        return "untried"
    try:
        async with asyncio.timeout(SECOND_SECONDS):
            pipe = await dial(host, relay.port)
    except (LinkError, TimeoutError):
        return "failed"
    pipe.abort()
    return "ok"


# ---------------------------------------------------------------- the router


async def _router(settings: Settings) -> Router:
    """What the router answers; nothing is mapped."""
    if settings.port_mapping == "off":
        return Router(unasked="off", text="The setting `port_mapping` is off.")
    try:
        gateway = await asyncio.to_thread(find_gateway, settings.interfaces)
    except NoGateway as exc:
        codes: dict[str, Unasked] = {"left_out": "left_out", "public": "public"}
        return Router(unasked=codes.get(exc.code, "no_route"), text=str(exc))
    offers = tuple(
        Offered(protocol=one.name, answers=one.answers, outside=one.outside, text=one.text)
        for one in await offers_of(gateway)
    )
    return Router(host=gateway.host, unasked="", offers=offers)
