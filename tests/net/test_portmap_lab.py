"""A port on a real router (miniupnpd): had by each protocol, dialled from outside, given back; and used in a chat."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from sandpiper.testing.netlab import CONE, SYMMETRIC, Host, Internet, NatRules, NetLab, Router, available
from tests.net.upnpd import MISSING, Upnpd
from tests.net.world import Person, Relay

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif((available() or MISSING) is not None, reason=str(available() or MISSING))

HOMES = "192.168.1.0/24"
PATIENCE = 0.3  # seconds for what must not happen

# Has a port that greets whoever dials it mapped by one protocol; at a line of input, gives it back.
MAPPER = """
import asyncio, sys
from sandpiper.net.portmap import find_gateway
from sandpiper.net.portmap.ways import WAYS

async def greet(reader, writer):
    writer.write(b"hello")
    writer.close()

async def main():
    way = next(way for way in WAYS if way.name == sys.argv[1])(find_gateway())
    server = await asyncio.start_server(greet, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    lease = await way.ask(port, None, 1200)
    again = await way.ask(port, lease.outside, 1200)
    assert again == lease, (again, lease)
    print(*lease.outside, lease.seconds, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await way.release(port, lease.outside)
    print("gone", flush=True)
    await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""
# Keeps a port mapped as a node does; says what became of it, and ends at a line of input.
KEEPER = """
import asyncio, sys
from sandpiper.config import Address, Paths, load
from sandpiper.faces.settings import node_settings
from sandpiper.node.mapping import mapped_ports
from sandpiper.wire.rendezvous import Observed

async def main():
    settings = node_settings(load(Paths.find()).settings)
    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        ports = mapped_ports(tasks, settings.interfaces, lambda port, mapped: (print(mapped, flush=True), done.set()))
        if settings.port_mapping:
            ports.online("relay", Address("192.168.1.2", 40000), Observed(host="11.0.0.9", port=40000))
            while "being asked" in ports.reason:
                await asyncio.sleep(0.05)
        print(ports.reason, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await ports.close()

asyncio.run(main())
"""


class Home(NamedTuple):
    """A router on the public network, and a host behind it."""

    router: Router
    host: Host


def home(lab: NetLab, internet: Internet, name: str, rules: NatRules = CONE) -> Home:
    lan = lab.lan(f"{name}-lan", subnet=HOMES, ipv6=False)
    return Home(lab.router(f"{name}-router", internet, lan, rules=rules), lab.host(name, lan))


def started(host: Host, program: str, *words: str, **env: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return host.popen([sys.executable, "-c", program, *words], env=env, stdin=pipe, stdout=pipe, stderr=pipe)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        _, told = process.communicate()
        pytest.fail(told)
    return said.strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def greeting(host: Host, address: tuple[str, int]) -> bytes | None:
    """What whoever dials there is told; None: nobody answers."""
    with host.socket() as sock:
        sock.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            sock.connect(address)
            return sock.recv(64)
    return None


@pytest.mark.parametrize("protocol", ["PCP", "NAT-PMP", "UPnP"])
def test_a_port_is_had_dialled_and_given_back_by_each_protocol(
    lab: NetLab, internet: Internet, far: Host, protocol: str
) -> None:
    a = home(lab, internet, "a")
    with Upnpd(a.router, pmp=protocol != "UPnP", upnp=protocol == "UPnP") as upnpd:
        process = started(a.host, MAPPER, protocol)
        host, port, seconds = line(process).split()
        address = (host, int(port))
        assert host == a.router.address()
        assert int(seconds) > 600
        assert upnpd.mapped() == {address[1]}
        assert greeting(far, address) == b"hello"
        go_on(process)
        assert line(process) == "gone"
        assert upnpd.mapped() == set()
        assert greeting(far, address) is None


def count_packets(host: Host, name: str, match: str) -> None:
    """Count what leaves a host and matches; `counted` tells."""
    lines = (
        "table inet watch {",
        f"counter {name} {{ }}",
        f"chain {name} {{",
        "type filter hook output priority -300",
        f'oifname != "lo" {match} counter name {name}',
        "}",
        "}",
    )
    host.run(["nft", "-f", "-"], input="\n".join(lines) + "\n", check=True)


def counted(host: Host, name: str) -> int:
    told = host.run(["nft", "list", "counter", "inet", "watch", name], check=True).stdout
    found = re.search(r"packets (\d+)", told)
    assert found is not None
    return int(found[1])


def test_a_node_has_its_port_mapped_and_talks_with_nobody_but_the_router(lab: NetLab, internet: Internet) -> None:
    a = home(lab, internet, "a")
    count_packets(a.host, "router", "ip daddr 192.168.1.1")
    count_packets(a.host, "others", "ip daddr != { 192.168.1.1, 239.255.255.250 } meta l4proto { tcp, udp }")
    with Upnpd(a.router) as upnpd:
        process = started(a.host, KEEPER)
        assert line(process) == f"{a.router.address()}:40000"
        assert "(PCP)" in line(process)
        assert upnpd.mapped() == {40000}
        assert counted(a.host, "router") > 0
        process.communicate("\n", timeout=20)
        assert upnpd.mapped() == set(), "it is given back at the end"
    process = started(a.host, KEEPER)
    assert "passes no port on" in line(process)
    process.communicate("\n", timeout=20)
    assert counted(a.host, "others") == 0


@pytest.mark.parametrize(
    "settings", [{"SANDPIPER_PORT_MAPPING": "off"}, {"SANDPIPER_INTERFACES": "lo"}], ids=["off", "loopback"]
)
def test_nothing_is_asked_where_that_is_switched_off_or_the_interface_left_out(
    lab: NetLab, internet: Internet, settings: dict[str, str]
) -> None:
    a = home(lab, internet, "a")
    count_packets(a.host, "any", "meta l4proto { tcp, udp }")
    with Upnpd(a.router) as upnpd:
        process = started(a.host, KEEPER, **settings)
        said = line(process)
        assert "No port is mapped" in said or "leaves out" in said
        process.communicate("\n", timeout=20)
        assert upnpd.mapped() == set()
    assert counted(a.host, "any") == 0


def test_a_lease_on_a_router_behind_another_nat_is_given_back(lab: NetLab, internet: Internet) -> None:
    carrier = lab.lan("carrier", subnet="100.64.0.0/24", ipv6=False)
    lab.router("carrier-router", internet, carrier)
    lan = lab.lan("lan", subnet=HOMES, ipv6=False)
    router = lab.router("router", carrier, lan)
    host = lab.host("a", lan)
    with Upnpd(router) as upnpd:
        process = started(host, KEEPER)
        assert re.search("no public one|no connection|no port on", line(process))
        process.communicate("\n", timeout=20)
        assert upnpd.mapped() == set()


def test_two_behind_symmetric_nats_are_linked_directly_when_one_router_maps_ports(
    lab: NetLab, internet: Internet, far: Host, tmp_path: Path
) -> None:
    a, b = home(lab, internet, "a", SYMMETRIC), home(lab, internet, "b", SYMMETRIC)
    with contextlib.ExitStack() as stack:
        upnpd = stack.enter_context(Upnpd(a.router))
        relay = stack.enter_context(Relay(far))
        where = relay.address("symmetric")
        alice = stack.enter_context(Person("alice", tmp_path / "a", a.host, "create", "birds", relay=where))
        bob = stack.enter_context(Person("bob", tmp_path / "b", b.host, "join", alice.code, relay=where))
        alice.meets("bob", "direct")
        bob.meets("alice", "direct")
        assert upnpd.mapped()
        alice.say("/status")
        alice.wait(lambda me: any("(PCP)" in str(event) for event in me.events), 20, "the port in /status")
        bob.say("hello over the mapped port")
        alice.shows("hello over the mapped port")
        alice.stop()
        assert upnpd.mapped() == set()
        relay.unharmed()


def test_a_router_that_is_gone_does_not_hold_up_the_end(lab: NetLab, internet: Internet) -> None:
    a = home(lab, internet, "a")
    with Upnpd(a.router):
        process = started(a.host, KEEPER)
        line(process)
        line(process)
    a.host.cable(up=False)
    process.communicate("\n", timeout=10)
    assert process.returncode == 0
