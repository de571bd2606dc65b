"""A port on the router: had, renewed and ended by each protocol; and routers that lie, break off or lead elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest

from sandpiper.config.addresses import Address
from sandpiper.errors import LinkError, LinkTimeout
from sandpiper.net.portmap import Gateway, NoGateway, PortMapping, Times, asking, find_gateway, offers_of
from sandpiper.net.portmap.gateway import linux_gateways, table_gateways
from sandpiper.net.portmap.keeping import NOT_WANTED, RELEASE_SECONDS
from sandpiper.net.portmap.ways import NatPmp, Pcp, Refused, Upnp
from sandpiper.node.mapping import NONE_WANTED, MappedPorts
from sandpiper.wire.igd import MAX_PAGE_BYTES
from sandpiper.wire.portmap import BadAnswer
from sandpiper.wire.rendezvous import Observed
from tests.gateway import IP1, OUTSIDE, Router, router
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

PORT = 8080
HOME = "192.168.1.20"
QUICK = Times(lease=1200, least=0.05, look=0.05, again=0.1)
ALL = ("pcp", "natpmp", "upnp")


@pytest.fixture(autouse=True)
def loopback_answers_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.1, 0.2, 0.3))
    monkeypatch.setattr(asking, "SEARCH_PAUSES", (0.2, 0.4))


@contextlib.asynccontextmanager
async def mapping(
    find: Callable[[], Gateway], changed: Callable[[], None] = lambda: None, times: Times = QUICK
) -> AsyncIterator[PortMapping]:
    async with asyncio.TaskGroup() as tasks:
        one = PortMapping(PORT, tasks, find, changed, times)
        one.want(True)
        try:
            yield one
        finally:
            await one.close()


def finds(one: Router) -> Callable[[], Gateway]:
    return lambda: one.gateway


# ---------------------------------------------------------------- had, renewed, ended


@pytest.mark.parametrize("speaks", ["pcp", "natpmp", "upnp"])
async def test_a_port_whose_answer_nobody_has_waited_for_is_given_back(speaks: str):
    async with router(speaks) as there:
        there.twist = lambda raw: [] if len(raw) in (16, 60) else [raw]  # answers to a mapping are lost
        there.slow = True
        async with mapping(finds(there)) as one:
            await there.until(lambda: there.mapped)
            assert one.mapped is None
        await there.until(lambda: not there.mapped)


@pytest.mark.parametrize(("speaks", "outside"), [("pcp", PORT + 1), ("natpmp", PORT), ("upnp", PORT)])
async def test_a_port_is_had_by_what_the_router_speaks_and_ended_with_us(speaks: str, outside: int):
    told: list[Address | None] = []
    async with router(speaks) as there:
        async with mapping(finds(there), lambda: told.append(one.mapped)) as one:
            await there.until(lambda: one.mapped)
            assert one.mapped == Address(OUTSIDE, outside)
            assert there.mapped == {outside: PORT}
            assert f"{OUTSIDE}:{outside}" in one.reason
        assert there.mapped == {}
        assert told == [Address(OUTSIDE, outside), None]


async def test_pcp_is_taken_where_a_router_speaks_all_three():
    async with router(*ALL) as there, mapping(finds(there)) as one:
        await there.until(lambda: one.mapped)
        assert {what.split()[0] for what in there.asked} == {"pcp"}


@pytest.mark.parametrize("speaks", ["pcp", "natpmp"])
async def test_a_lease_is_renewed_before_it_ends_with_the_same_port(speaks: str):
    told: list[Address | None] = []
    async with router(speaks) as there:
        there.seconds = 4
        async with mapping(finds(there), lambda: told.append(one.mapped)) as one:
            await there.until(lambda: sum(" map " in what for what in there.asked) >= 4)
            assert not any("ended" in what for what in there.asked)
            assert len(there.mapped) == 1
            assert len(told) == 1, "a renewal is no news"


async def test_a_lease_that_is_not_renewed_is_told_and_asked_for_again():
    told: list[Address | None] = []
    async with router("pcp") as there:
        there.seconds = 1
        async with mapping(finds(there), lambda: told.append(one.mapped)) as one:
            await there.until(lambda: one.mapped)
            there.result = 8
            await there.until(lambda: one.mapped is None)
            assert "no room" in one.reason
            there.result = 0
            await there.until(lambda: one.mapped)


async def test_a_router_that_begins_to_do_it_is_asked_again():
    async with router("natpmp") as there:
        there.result = 2
        async with mapping(finds(there)) as one:
            await there.until(lambda: "does not allow it" in one.reason)
            assert one.mapped is None
            there.result = 0
            await there.until(lambda: one.mapped)


async def test_another_router_is_asked_when_the_way_out_changes():
    async with router("pcp") as home, router("natpmp") as cafe:
        where = [home]
        async with mapping(lambda: where[0].gateway) as one:
            await home.until(lambda: one.mapped)
            where[0] = cafe
            one.again()
            await cafe.until(lambda: one.mapped == Address(OUTSIDE, PORT))
        assert cafe.mapped == {}


async def test_a_lease_is_asked_for_again_after_sleep_and_given_up_where_the_router_knows_it_no_longer():
    async with router("pcp") as there, mapping(finds(there), times=Times(look=60, again=60)) as one:
        await there.until(lambda: one.mapped)
        one.again()
        await there.until(lambda: len(there.asked) == 2)
        assert one.mapped
        there.result = 2
        one.again()
        await there.until(lambda: one.mapped is None)


async def test_nothing_is_asked_before_it_is_wanted_nor_afterwards_and_the_last_wish_holds():
    async with router("pcp") as there, asyncio.TaskGroup() as tasks:
        one = PortMapping(PORT, tasks, finds(there), lambda: None, QUICK)
        assert one.reason == NOT_WANTED
        for wanted in (True, False, True, False, True):
            one.want(wanted)
        await there.until(lambda: one.mapped)
        there.lost_releases = 1
        one.want(False)
        one.want(True)
        await there.until(lambda: there.asked.count(f"pcp map {PORT} for 0") >= 1 and one.mapped)
        assert there.mapped == {PORT + 1: PORT}, "what ended came before what began anew"
        await one.close()
        assert there.mapped == {}
        count = len(there.asked)
        one.want(False)
        await one.close()
        assert len(there.asked) == count


async def test_no_router_is_a_reason_and_no_failure():
    def find() -> Gateway:
        raise NoGateway("There is no router.")

    async with router() as there, mapping(find) as one:
        await there.until(lambda: "no router" in one.reason)
        assert one.mapped is None


async def test_a_router_without_any_of_them_is_a_reason_and_does_not_hold_up_the_end():
    async with router() as there:
        async with mapping(finds(there), times=Times(look=0.05)) as one:
            await there.until(lambda: "UPnP: " in one.reason)
            assert one.mapped is None
            assert "PCP: The router does not answer" in one.reason
        start = time.monotonic()
        async with mapping(finds(there)) as one:
            pass
        assert time.monotonic() - start < RELEASE_SECONDS + 1


async def test_an_address_that_is_not_public_is_not_offered_and_the_port_given_back():
    async with router(*ALL) as there:
        there.outside = "100.64.0.9"
        async with mapping(finds(there), times=Times(look=0.05, again=60)) as one:
            await there.until(lambda: "another NAT" in one.reason)
            await there.until(lambda: there.asked[-1] == f"pcp map {PORT} for 0")
            assert one.mapped is None
            assert there.mapped == {}


# ---------------------------------------------------------------- a node's


@contextlib.asynccontextmanager
async def nodes_ports(there: Router, told: list[tuple[int, Address | None]]) -> AsyncIterator[MappedPorts]:
    async with asyncio.TaskGroup() as tasks:
        ports = MappedPorts(tasks, finds(there), lambda port, mapped: told.append((port, mapped)), QUICK)
        try:
            yield ports
        finally:
            await ports.close()


def seen(host: str, *, tunnel: bool = False) -> Observed:
    return Observed(host=host, port=40_000, tunnel=tunnel)


async def test_each_rendezvous_has_its_own_port_mapped_and_one_that_ends_or_comes_back_gives_its_old_one_back():
    told: list[tuple[int, Address | None]] = []
    async with router("natpmp") as there, nodes_ports(there, told) as ports:
        ports.online("one", Address(HOME, 5001), seen(OUTSIDE))
        ports.online("other", Address(HOME, 5002), seen("127.0.0.1", tunnel=True))
        ports.online("one", Address(HOME, 5001), seen(OUTSIDE))
        await there.until(lambda: set(there.mapped) == {5001, 5002} and len(told) == 2)
        assert "passes" in ports.reason
        ports.online("one", Address(HOME, 5003), seen(OUTSIDE))  # it was lost, and a new connection has another port
        ports.offline("other")
        await there.until(lambda: set(there.mapped) == {5003} and (5002, None) in told)
        ports.offline("unheard of")
        assert sorted(told[2:], key=str) == [(5001, None), (5002, None), (5003, Address(OUTSIDE, 5003))]
        await ports.close()
        assert there.mapped == {}
        assert ports.reason == NONE_WANTED


async def test_a_relay_on_our_own_network_opens_no_port_to_the_internet():
    async with router(*ALL) as there, nodes_ports(there, []) as ports:
        for host in ("192.168.1.20", "127.0.0.1", "fd00::1", "100.64.0.3", "203.0.113.5"):
            ports.online(host, Address(HOME, 5001), seen(host))
        ports.online("here", Address("127.0.0.1", 5001), seen("127.0.0.1", tunnel=True))
        ports.online("out there", Address(HOME, 5002), seen(OUTSIDE))
        await there.until(lambda: there.mapped)
        assert set(there.mapped.values()) == {5002}
        assert {what for what in there.asked if "map" in what} == {"pcp map 5002 for 1200"}


# ---------------------------------------------------------------- UPnP's own


async def test_upnp_for_ever_only_is_taken_and_ended():
    async with router("upnp") as there:
        there.faults = [725]
        async with mapping(finds(there)) as one:
            await there.until(lambda: one.mapped)
            assert f"upnp AddPortMapping {PORT} 0" in there.asked
        assert there.mapped == {}


async def test_upnp_takes_another_port_when_somebody_has_ours():
    async with router("upnp") as there:
        there.faults = [718]
        async with mapping(finds(there)) as one:
            await there.until(lambda: one.mapped)
            assert one.mapped is not None
            assert there.mapped == {one.mapped.port: PORT}
            assert one.mapped.port != PORT


async def test_upnp_that_always_refuses_is_not_asked_for_ever():
    async with router("upnp") as there:
        there.faults = [718] * 100
        with pytest.raises(Refused):
            await Upnp(there.gateway).ask(PORT, None, 60)
        assert len(there.faults) > 90


@pytest.mark.parametrize(
    "page",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * (2 * MAX_PAGE_BYTES),
        b"HTTP/1.1 200 OK\r\n\r\n<root><service><serviceType>"
        + IP1.encode()
        + b"</serviceType><controlURL>http://127.0.0.2/ctl</controlURL></service></root>",
        b'HTTP/1.1 200 OK\r\n\r\n<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"\x00" * 100,
        b"",
    ],
    ids=["redirect", "endless", "elsewhere", "entities", "nulls", "nothing"],
)
async def test_upnp_pages_that_are_hostile_end_in_a_refusal(page: bytes):
    async with router("upnp") as there:
        there.page = page
        with pytest.raises((BadAnswer, LinkError)) as caught:
            await Upnp(there.gateway).ask(PORT, None, 60)
        assert str(caught.value).isprintable()
        assert not any("AddPortMapping" in what for what in there.asked)


async def test_upnp_answers_that_lead_to_somebody_else_are_not_followed():
    followed = asyncio.Event()

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        followed.set()
        writer.close()

    async with router("upnp") as there, await asyncio.start_server(note, "127.0.0.1", 0) as victim:
        port = victim.sockets[0].getsockname()[1]
        for where in (f"http://localhost:{port}/", f"http://127.0.0.2:{port}/", f"http://127.1:{port}/"):
            there.location = where
            with pytest.raises(LinkTimeout):
                await Upnp(there.gateway).look()
    assert not followed.is_set()


# ---------------------------------------------------------------- routers that lie


@pytest.mark.parametrize(
    "twist",
    [
        lambda raw: [raw[:24] + b"\xff" * 12 + raw[36:]],  # another nonce
        lambda raw: [raw[:40] + b"\x00\x01" + raw[42:]],  # another port of ours
        lambda raw: [raw[:-4]],
        lambda _raw: [b"\xff" * 60] * 200,
        lambda raw: [raw[:1] + bytes([raw[1] & 0x7F]) + raw[2:]],
        lambda _raw: [b""] * 20,
    ],
    ids=["nonce", "port", "cut", "flood", "question", "empty"],
)
async def test_pcp_answers_to_something_else_count_for_nothing(twist: Callable[[bytes], list[bytes]]):
    async with router("pcp") as there:
        there.twist = twist
        with pytest.raises((LinkTimeout, BadAnswer)):
            await Pcp(there.gateway).ask(PORT, None, 60)
        there.twist = lambda raw: [*twist(raw)[:10], raw]
        assert (await Pcp(there.gateway).ask(PORT, None, 60)).outside == Address(OUTSIDE, PORT + 1)


async def test_natpmp_answers_about_another_port_count_for_nothing():
    async with router("natpmp") as there:
        there.twist = lambda raw: [raw[:8] + b"\x00\x01" + raw[10:]] if len(raw) == 16 else [raw]
        with pytest.raises(LinkTimeout):
            await NatPmp(there.gateway).ask(PORT, None, 60)


@pytest.fixture
def forger() -> Iterator[socket.socket]:
    """Somebody else on the router's network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.2", 0))
        except OSError:
            pytest.skip("this system has one loopback address only")
        sock.setblocking(False)
        yield sock


async def test_somebody_else_cannot_answer_for_the_router(forger: socket.socket):
    async with router("pcp", "natpmp") as there:
        for way in (Pcp, NatPmp):
            there.forger = forger
            with pytest.raises(LinkTimeout):
                await way(there.gateway).ask(PORT, None, 60)
            there.forger = None
            assert (await way(there.gateway).ask(PORT, None, 60)).outside.host == OUTSIDE


async def test_somebody_else_cannot_answer_a_search_for_the_router(forger: socket.socket):
    async with router("upnp") as there:
        asked = Gateway(HOST, HOST, there.port, Address("127.0.0.2", forger.getsockname()[1]))
        looking = asyncio.create_task(Upnp(asked).look())
        loop = asyncio.get_running_loop()
        raw, origin = await loop.sock_recvfrom(forger, 2048)
        answer = there.search_answer(raw)
        assert answer is not None
        for _ in range(50):
            await loop.sock_sendto(forger, answer, origin)
        with pytest.raises(LinkTimeout):
            await looking
        assert "upnp description" not in there.asked


# ---------------------------------------------------------------- what the doctor asks


async def test_looking_changes_nothing_and_names_what_answers():
    async with router("natpmp", "upnp") as there:
        offers = {one.name: one for one in await offers_of(there.gateway)}
        assert not offers["PCP"].answers
        assert "another version" in offers["PCP"].text
        assert (offers["NAT-PMP"].answers, offers["NAT-PMP"].outside) == (True, OUTSIDE)
        assert (offers["UPnP"].answers, offers["UPnP"].outside) == (True, OUTSIDE)
        assert there.mapped == {}
        assert not any(" map " in what or "AddPort" in what for what in there.asked)


# ---------------------------------------------------------------- which router


def test_with_loopback_alone_there_is_no_router():
    with pytest.raises(NoGateway):
        find_gateway(("lo0" if sys.platform == "darwin" else "lo",))


def test_an_interface_that_does_not_exist_has_no_router():
    with pytest.raises(NoGateway):
        find_gateway(("nosuch0",))


def test_gateways_of_linux_are_read_by_their_metric():
    assert linux_gateways(LINUX) == ["192.168.1.1", "10.0.0.1"]
    assert linux_gateways("") == linux_gateways("Iface\n") == linux_gateways("Iface\nx y\n") == []


def test_gateways_of_other_systems_are_read():
    assert table_gateways(MACOS) == ["192.168.1.1", "10.8.0.1"]
    assert table_gateways(WINDOWS) == ["192.168.1.1", "10.0.0.1"]
    assert table_gateways("default 999.1.1.1 x\ndefault\n0.0.0.0 0.0.0.0 x\n") == []


LINUX = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
eth1\t00000000\t0201A8C0\t0002\t0\t0\t10\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""
MACOS = """\
Routing tables

Internet:
Destination        Gateway            Flags               Netif Expire
default            192.168.1.1        UGScg                 en0
default            link#12            UCSIg             bridge1
default            10.8.0.1           UGScIg              utun4
127                127.0.0.1          UCS                   lo0
"""
WINDOWS = """\
IPv4 Route Table
===========================================================================
Active Routes:
Network Destination        Netmask          Gateway       Interface  Metric
          0.0.0.0          0.0.0.0         10.0.0.1        10.0.0.7     55
          0.0.0.0          0.0.0.0      192.168.1.1     192.168.1.5     25
          0.0.0.0          0.0.0.0          On-link        10.9.0.2      5
===========================================================================
"""
assert HOST == "127.0.0.1"
