"""The routers of the network lab do what their names say, seen with plain sockets."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections import Counter
from typing import NamedTuple

import pytest

from sandpiper.testing.netlab import (
    CONE,
    REFUSING,
    SYMMETRIC,
    UDP_BLOCKED,
    WEB_ONLY,
    Host,
    Internet,
    NatRules,
    NetLab,
    NetLabError,
    Router,
    available,
)

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

GROUP = "224.0.0.1"
DEADLINE = 10.0  # seconds for what must happen: only a broken lab comes near
PATIENCE = 1.5  # seconds for what must not happen: on a busy machine a packet may take one
PUNCH_SECONDS = 6.0  # a lost SYN is sent again after 1, 2, 3 and 4 s
HOMES = "192.168.1.0/24"  # the same in every home, as it is

Address = tuple[str, int]


class Home(NamedTuple):
    """A router with one host behind it."""

    router: Router
    host: Host

    @property
    def outside(self) -> str:
        """The address that the world sees."""
        return self.router.address()


@pytest.fixture
def internet(lab: NetLab) -> Internet:
    return lab.internet()


@pytest.fixture
def server(lab: NetLab, internet: Internet) -> Host:
    return lab.host("server", internet)


def home(lab: NetLab, internet: Internet, name: str, rules: NatRules = CONE) -> Home:
    lan = lab.lan(f"{name}-lan", subnet=HOMES, ipv6=False)
    return Home(lab.router(f"{name}-router", internet, lan, rules=rules), lab.host(name, lan))


def bound(host: Host, kind: socket.SocketKind = socket.SOCK_STREAM, port: int = 0) -> socket.socket:
    """A socket on all addresses of the host, whose port others of it may share."""
    sock = host.socket(socket.AF_INET, kind)
    sock.settimeout(DEADLINE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("", port))
    return sock


def listening(host: Host, port: int = 0) -> socket.socket:
    sock = bound(host, port=port)
    sock.listen()
    return sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def seen(from_: socket.socket, at: socket.socket, address: str) -> Address:
    """How a listening socket sees a socket that connects to it; both stay open in the kernel's tables."""
    from_.connect((address, port_of(at)))
    taken, origin = at.accept()
    taken.close()
    return str(origin[0]), int(origin[1])


def outcome(host: Host, address: Address) -> str:
    """What comes of a connection: connected, refused or silence."""
    with bound(host) as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect(address)
        except TimeoutError:
            return "silence"
        except ConnectionRefusedError:
            return "refused"
        return "connected"


def asks(sock: socket.socket, server: socket.socket, address: str) -> Address | None:
    """How a server sees a datagram of this socket, which gets an answer; None: nothing came."""
    sock.sendto(b"ask", (address, port_of(server)))
    server.settimeout(PATIENCE)
    with contextlib.suppress(TimeoutError):
        word, origin = server.recvfrom(64)
        server.sendto(word, origin)
        assert sock.recv(64) == word
        return str(origin[0]), int(origin[1])
    return None


def punch(*sides: tuple[Host, int, Address], seconds: float = PUNCH_SECONDS) -> int:
    """How many sides get a connection when each dials from its port to that address until the time is up."""
    start = threading.Barrier(len(sides))
    done = Counter[bool]()

    def dial(host: Host, port: int, address: Address) -> None:
        start.wait()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with bound(host, port=port) as sock:
                sock.settimeout(left)
                with contextlib.suppress(OSError):  # refused, or too late
                    sock.connect(address)
                    sock.sendall(b"!")
                    done[sock.recv(1) == b"!"] += 1
                    return
            time.sleep(0.02)  # a refusal comes at once, and is to be followed by another try, not by hundreds

    threads = [threading.Thread(target=dial, args=side) for side in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done[True]


def punched(one: Host, other: Host, server: Host, *, port: int = 0, seconds: float = PUNCH_SECONDS) -> bool:
    """Whether two hosts get a connection when each dials the address that a server has seen of the other."""
    with listening(server, port) as known, bound(one) as from_one, bound(other) as from_other:
        ports = port_of(from_one), port_of(from_other)
        places = [seen(sock, known, server.address()) for sock in (from_one, from_other)]
        return punch((one, ports[0], places[1]), (other, ports[1], places[0]), seconds=seconds) == 2


# ---------------------------------------------------------------- the public network


def test_on_the_internet_everybody_is_reached_and_nobody_is_a_neighbour(
    lab: NetLab, internet: Internet, server: Host
) -> None:
    other = lab.host("other", internet)
    with listening(server) as known, bound(other) as sock:
        assert seen(sock, known, server.address()) == (other.address(), port_of(sock))
        assert ipaddress.ip_address(other.address()) in internet.subnet
    routes = other.run(["ip", "route"], check=True).stdout
    assert routes.split()[:3] == ["default", "via", str(internet.gateway)]
    assert len(routes.splitlines()) == 1, "nothing there is on a network with it"
    with bound(server, socket.SOCK_DGRAM, 9999) as group, bound(other, socket.SOCK_DGRAM) as sock:
        interface = socket.inet_aton(server.address())
        group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface)
        for address in (GROUP, "255.255.255.255"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(b"is anybody here?", (address, 9999))
        assert asks(sock, group, server.address()) == (other.address(), port_of(sock)), "this is the first that came"


def test_what_goes_to_a_private_address_vanishes_on_the_internet(lab: NetLab, internet: Internet, server: Host) -> None:
    behind = home(lab, internet, "a")
    with listening(behind.host) as sock:
        assert outcome(server, (behind.host.address(), port_of(sock))) == "silence"
        assert outcome(server, ("10.1.2.3", 80)) == "silence"


@pytest.mark.parametrize("seed", [None, 1], ids=["as the kernel can", "in user space"])
def test_a_way_over_the_internet_takes_the_time_of_both_cables(
    lab: NetLab, internet: Internet, server: Host, seed: int | None
) -> None:
    behind = home(lab, internet, "a")
    with listening(server) as known:
        for delay, least, most in ((0, 0.0, 0.05), (30, 0.12, 0.5)):
            internet.link_quality(behind.router, delay_ms=delay, seed=seed)
            internet.link_quality(server, delay_ms=delay, seed=seed)
            taken = []
            for _ in range(3):
                with bound(behind.host) as sock:
                    start = time.monotonic()
                    seen(sock, known, server.address())
                    taken.append(time.monotonic() - start)
            assert least <= min(taken) < most


# ---------------------------------------------------------------- one router


def test_a_cone_keeps_the_port_and_lets_in_only_what_answers(lab: NetLab, internet: Internet, server: Host) -> None:
    a, stranger = home(lab, internet, "a"), lab.host("stranger", internet)
    with listening(server) as one, listening(server) as other, bound(a.host) as sock:
        first = seen(sock, one, server.address())
        assert first == (a.outside, port_of(sock))
        with bound(a.host, port=port_of(sock)) as again:
            assert seen(again, other, server.address()) == first, "the same for another destination"
    with listening(a.host) as inside:
        assert outcome(server, (a.outside, port_of(inside))) == "silence"
    kind = socket.SOCK_DGRAM
    with bound(a.host, kind) as sock, bound(server, kind) as known, bound(stranger, kind) as unknown:
        place = asks(sock, known, server.address())
        assert place == (a.outside, port_of(sock))
        unknown.sendto(b"unasked", place)
        with bound(server, kind) as elsewhere:  # nor another port of the same host
            elsewhere.sendto(b"unasked", place)
        known.sendto(b"asked", place)
        assert sock.recv(64) == b"asked"


def test_a_symmetric_router_has_another_port_for_each_destination(
    lab: NetLab, internet: Internet, server: Host
) -> None:
    a = home(lab, internet, "a", SYMMETRIC)
    ports = set()
    with contextlib.ExitStack() as open_:
        local = port_of(open_.enter_context(bound(a.host)))
        for _ in range(4):
            known, sock = open_.enter_context(listening(server)), open_.enter_context(bound(a.host, port=local))
            address, port = seen(sock, known, server.address())
            assert address == a.outside
            ports.add(port)
    assert len(ports) == 4, "of 64,512: by chance two are the same once in ten thousand times"
    assert local not in ports
    kind = socket.SOCK_DGRAM
    with bound(a.host, kind) as sock, bound(server, kind) as one, bound(server, kind) as other:
        assert asks(sock, one, server.address()) != asks(sock, other, server.address())


def test_unasked_callers_get_silence_or_a_refusal(lab: NetLab, internet: Internet, server: Host) -> None:
    rules = {"cone": CONE, "symmetric": SYMMETRIC, "refusing": REFUSING}
    homes = {name: home(lab, internet, name, one) for name, one in rules.items()}
    found = {name: outcome(server, (one.outside, 8080)) for name, one in homes.items()}
    assert found == {"cone": "silence", "symmetric": "silence", "refusing": "refused"}
    with bound(server, socket.SOCK_DGRAM) as sock:
        sock.connect((homes["refusing"].outside, 8080))
        sock.send(b"unasked")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(64)


def test_where_udp_is_blocked_only_that_is(lab: NetLab, internet: Internet, server: Host) -> None:
    a, b = home(lab, internet, "a", UDP_BLOCKED), home(lab, internet, "b")
    kind = socket.SOCK_DGRAM
    with bound(a.host, kind) as sock, bound(b.host, kind) as other, bound(server, kind) as known:
        assert asks(sock, known, server.address()) is None
        assert asks(other, known, server.address()) is not None, "elsewhere it passes"
        a.router.obey(CONE)
        assert asks(sock, known, server.address()) is not None
        a.router.obey(UDP_BLOCKED)
        known.sendto(b"an answer", (a.outside, port_of(sock)))
        sock.settimeout(PATIENCE)
        with pytest.raises(TimeoutError):
            sock.recv(64)
    with listening(server) as known, bound(a.host) as sock:
        assert seen(sock, known, server.address()) == (a.outside, port_of(sock))


def test_where_the_web_alone_is_allowed_nothing_else_gets_out(lab: NetLab, internet: Internet, server: Host) -> None:
    a = home(lab, internet, "a", WEB_ONLY)
    found = {}
    for port in (80, 443, 8000):
        with listening(server, port):
            found[port] = outcome(a.host, (server.address(), port))
    assert found == {80: "connected", 443: "connected", 8000: "silence"}
    with bound(a.host, socket.SOCK_DGRAM) as sock, bound(server, socket.SOCK_DGRAM, 443) as known:
        assert asks(sock, known, server.address()) is None


# ---------------------------------------------------------------- two routers, and two hosts behind one


@pytest.mark.parametrize(
    ("rules", "works"),
    [
        ((CONE, CONE), True),
        ((CONE, UDP_BLOCKED), True),
        ((CONE, REFUSING), True),
        ((REFUSING, REFUSING), True),
        ((CONE, SYMMETRIC), False),
        ((CONE, WEB_ONLY), False),
    ],
    ids=["cone cone", "cone UDP blocked", "cone refusing", "refusing refusing", "cone symmetric", "cone web only"],
)
def test_holes_are_punched_where_ports_can_be_foretold(
    lab: NetLab, internet: Internet, server: Host, rules: tuple[NatRules, NatRules], works: bool
) -> None:
    a, b = home(lab, internet, "a", rules[0]), home(lab, internet, "b", rules[1])
    for one in (a, b):  # on a way without any length no SYN can be under way to a router that has sent its own
        internet.link_quality(one.router, delay_ms=10)
    assert punched(a.host, b.host, server, port=443, seconds=PUNCH_SECONDS if works else 2) is works


def test_behind_two_routers_the_world_sees_the_outer_one(lab: NetLab, internet: Internet, server: Host) -> None:
    carrier = lab.lan("carrier", subnet="100.64.0.0/24", ipv6=False)
    outer = lab.router("outer", internet, carrier)
    lan = lab.lan("inner-lan", subnet=HOMES, ipv6=False)
    inner, host = lab.router("inner", carrier, lan), lab.host("host", lan)
    assert inner.address() == "100.64.0.2"
    with listening(server) as known, bound(host) as sock:
        assert seen(sock, known, server.address()) == (outer.address(), port_of(sock))
    assert punched(host, home(lab, internet, "b").host, server)


def test_two_hosts_behind_one_router_share_its_address_and_reach_each_other_inside_alone(
    lab: NetLab, internet: Internet, server: Host
) -> None:
    a = home(lab, internet, "a")
    b = lab.host("b", a.host.lans[0])
    with listening(server) as known, bound(a.host) as from_a, bound(b) as from_b:
        places = [seen(sock, known, server.address()) for sock in (from_a, from_b)]
        assert {place[0] for place in places} == {a.outside}
        assert places[0] != places[1]
        ports = port_of(from_a), port_of(from_b)
    assert punch((a.host, ports[0], places[1]), (b, ports[1], places[0]), seconds=1.5) == 0, "no hairpin"
    with listening(b) as inside:
        assert outcome(a.host, (b.address(), port_of(inside))) == "connected"


def test_the_lans_of_one_router_reach_each_other_and_are_apart_from_those_of_others(
    lab: NetLab, internet: Internet
) -> None:
    lans = [lab.lan(name, subnet=subnet, ipv6=False) for name, subnet in (("one", HOMES), ("two", "192.168.2.0/24"))]
    lab.router("router", internet, *lans)
    a, b = (lab.host(f"on-{lan.name}", lan) for lan in lans)
    stranger = home(lab, internet, "stranger")
    with listening(b) as inside:
        assert outcome(a, (b.address(), port_of(inside))) == "connected"
        assert outcome(stranger.host, (b.address(), port_of(inside))) == "silence"


# ---------------------------------------------------------------- changes


def test_a_host_that_moves_to_another_home_is_seen_at_its_address(
    lab: NetLab, internet: Internet, server: Host
) -> None:
    a, b = home(lab, internet, "a"), home(lab, internet, "b", SYMMETRIC)
    with listening(server) as known:
        with bound(a.host) as sock:
            assert seen(sock, known, server.address())[0] == a.outside
        a.host.detach(a.host.lans[0])
        with bound(a.host) as sock, pytest.raises(OSError, match="unreachable"):
            seen(sock, known, server.address())
        a.host.attach(b.host.lans[0])
        assert a.host.address() == "192.168.1.3"
        with bound(a.host) as sock:
            assert seen(sock, known, server.address())[0] == b.outside


def test_a_cable_that_was_pulled_or_unplugged_leads_out_again(lab: NetLab, internet: Internet, server: Host) -> None:
    a = home(lab, internet, "a")
    with listening(server) as known:
        where = server.address(), port_of(known)
        a.router.cable(up=False)
        assert outcome(a.host, where) == "silence"
        a.router.cable(up=True)
        with a.host.unplugged(), a.router.unplugged(internet):
            pass
        assert outcome(a.host, where) == "connected"


def test_a_connection_survives_a_short_cut_and_new_rules(lab: NetLab, internet: Internet, server: Host) -> None:
    a = home(lab, internet, "a")
    with listening(server) as known, bound(a.host) as sock:
        sock.connect((server.address(), port_of(known)))
        taken, _ = known.accept()
        with taken:
            gateway = ["cat", "/sys/class/net/br0/address"]
            before = internet.namespace.run(gateway).stdout
            internet.link_quality(a.router, delay_ms=5, seed=1)
            assert internet.namespace.run(gateway).stdout == before, "neighbours would look for the old one"
            a.router.obey(SYMMETRIC)
            taken.sendall(b"still here")
            assert sock.recv(64) == b"still here"


def test_parted_hosts_reach_everybody_but_each_other(lab: NetLab, internet: Internet, server: Host) -> None:
    a, b = home(lab, internet, "a"), lab.host("b", internet)
    with listening(server) as known, listening(b) as other:
        at_server, at_b = (server.address(), port_of(known)), (b.address(), port_of(other))
        found = []
        for pairs in ((), ((a.router, b),), ((b, server),), ()):
            internet.part(*pairs)
            found.append(tuple(outcome(*way) for way in ((a.host, at_b), (a.host, at_server), (b, at_server))))
    yes, no = "connected", "silence"
    assert found == [(yes, yes, yes), (no, yes, yes), (yes, yes, no), (yes, yes, yes)]


def test_what_a_router_can_not_be_is_said(lab: NetLab, internet: Internet) -> None:
    a = home(lab, internet, "a")
    with pytest.raises(NetLabError, match=r"has the gateway 192\.168\.1\.1 already"):
        lab.router("second", internet, a.host.lans[0])
    with pytest.raises(NetLabError, match="70000 is no TCP port"):
        NatRules(tcp_ports=(80, 70000))
    with pytest.raises(NetLabError, match="has a 'a' already"):
        lab.router("a", internet)


def test_a_closed_lab_leaves_no_router(lab: NetLab, internet: Internet) -> None:
    a = home(lab, internet, "a")
    internet.link_quality(a.router, delay_ms=1, seed=1)
    lab.close()
    with pytest.raises(NetLabError, match="is gone"):
        a.router.socket()
    with pytest.raises(NetLabError, match="is gone"):
        internet.namespace.socket()
