"""The network lab keeps its promises: LANs like real ones, cables to pull and to spoil, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

import sandpiper
from sandpiper.testing.netlab import Host, Lan, NetLab, NetLabError
from sandpiper.testing.netlab.pump import QUEUE_BYTES, Direction, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pair: TypeAlias = tuple[Host, Host]

GROUP, GROUP6, PORT = "224.0.0.1", "ff02::5a:50", 9999
DEADLINE = 10.0  # seconds for what must happen: only a broken lab comes near
PATIENCE = 0.3  # seconds before sending again, and for what must not happen


@pytest.fixture
def office(lab: NetLab) -> Lan:
    return lab.lan("office")


@pytest.fixture
def hosts(lab: NetLab, office: Lan) -> Pair:
    return lab.host("a", office), lab.host("b", office)


def udp(host: Host, lan: Lan | None = None, *, port: int = 0) -> socket.socket:
    """A bound UDP socket in the group on one LAN, by the interface's own address."""
    sock = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
    interface = socket.inet_aton(host.address(lan))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface)
    sock.bind(("", port))
    sock.settimeout(DEADLINE)
    return sock


def udp6(host: Host, *, port: int = 0) -> socket.socket:
    """A bound UDP socket in the IPv6 group on the host's first LAN."""
    index = host.call(socket.if_nametoindex, host.interface())
    sock = host.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    membership = socket.inet_pton(socket.AF_INET6, GROUP6) + index.to_bytes(4, sys.byteorder)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
    sock.bind(("::", port))
    return sock


def listener(host: Host) -> tuple[socket.socket, int]:
    """A TCP socket that listens on all addresses of the host, and its port."""
    sock = host.socket(socket.AF_INET6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    sock.listen()
    return sock, sock.getsockname()[1]


def connects(host: Host, address: str, port: int, timeout: float = DEADLINE) -> bool:
    """Whether a TCP connection from the host comes about, rather than silence."""
    with host.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.settimeout(timeout)
        with contextlib.suppress(TimeoutError):
            sock.connect((address, port))
            return True
    return False


def heard(receiver: socket.socket, sender: socket.socket, address: str, word: str) -> str:
    """What the receiver hears first when the word is sent to this address until it hears something."""
    deadline = time.monotonic() + DEADLINE
    receiver.settimeout(PATIENCE)
    while time.monotonic() < deadline:
        sender.sendto(word.encode(), (address, PORT))
        with contextlib.suppress(TimeoutError):
            return receiver.recv(2048).decode()
    pytest.fail(f"{word!r} was not heard")


def round_trip(a: Host, b: Host, *, size: int = 4) -> float:
    """The shortest of five round trips, in seconds, after one in which the hosts find each other."""
    taken = []
    with udp(a) as one, udp(b) as other:
        for _ in range(6):
            start = time.monotonic()
            one.sendto(bytes(size), (b.address(), other.getsockname()[1]))
            other.sendto(*other.recvfrom(2048))
            one.recv(2048)
            taken.append(time.monotonic() - start)
    return min(taken[1:])


def namespaces_of(prefix: str) -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.startswith(f"{prefix}-")]


def python(temporary: Path, *argv: str) -> subprocess.Popen[str]:
    """A Python process that keeps its temporary files in the folder."""
    env = {**os.environ, "PYTHONPATH": str(Path(sandpiper.__path__[0]).parent), "TMPDIR": str(temporary)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *argv], stdin=pipe, stdout=pipe, text=True, env=env)


@contextlib.contextmanager
def child_with_lab(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A child process with an open lab in which a program runs: the child, the lab's prefix, the program's pidfd."""
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # which nohup and background jobs of a shell ignore
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from sandpiper.testing.netlab import NetLab\n"
        "with NetLab() as lab:\n"
        "    program = lab.host('a', lab.lan('office')).popen(['sleep', '1000'])\n"
        "    print(lab.prefix, program.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with python(temporary, "-c", script) as child:
        assert child.stdout is not None
        prefix, program = child.stdout.readline().split()
        assert (len(namespaces_of(prefix)), len(list(temporary.glob(f"{prefix}-*")))) == (2, 1)
        with open(os.pidfd_open(int(program))) as handle:
            yield child, prefix, handle.fileno()


def readable(handle: int) -> bool:
    """Whether there is something to read in time; for a pidfd, whether the process ends in time."""
    return bool(select.select([handle], [], [], DEADLINE)[0])


def test_hosts_hear_each_others_multicast_without_a_default_route(hosts: Pair) -> None:
    a, b = hosts
    with udp(a, port=PORT) as at_a, udp(b, port=PORT) as at_b:
        at_a.sendto(b"from a", (GROUP, PORT))
        assert at_b.recv(64) == at_a.recv(64) == b"from a"
        at_b.sendto(b"from b", (GROUP, PORT))
        assert at_a.recv(64) == at_b.recv(64) == b"from b"
        with pytest.raises(OSError, match="unreachable"):
            at_a.sendto(b"", ("203.0.113.1", 9))
        anywhere = socket.inet_aton("224.0.0.2") + socket.inet_aton("0.0.0.0")
        with pytest.raises(OSError, match="No such device"):  # what discovery on a LAN must cope with
            at_a.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, anywhere)
    with udp6(a) as at_a, udp6(b, port=PORT) as at_b:
        assert heard(at_b, at_a, GROUP6, "from six") == "from six"


def test_lans_are_apart_and_a_host_on_both_does_not_route(lab: NetLab, office: Lan) -> None:
    cafe = lab.lan("cafe", subnet="192.168.7.0/28", ipv6=False)
    a, both, c = lab.host("a", office), lab.host("both", office, cafe), lab.host("c", cafe)
    assert (both.interface(office), both.interface(cafe), c.address()) == ("eth0", "eth1", "192.168.7.3")
    a.run(["ip", "route", "add", "default", "via", both.address(office)], check=True)
    c.run(["ip", "route", "add", "default", "via", both.address(cafe)], check=True)
    (at_c, port_c), (at_both, port_both) = listener(c), listener(both)
    with at_c, at_both:
        assert connects(both, c.address(), port_c)
        assert connects(a, both.address6(), port_both)
        assert not connects(a, c.address(), port_c, PATIENCE)
    assert "inet6" not in c.run(["ip", "addr", "show", "eth0"], check=True).stdout


def test_snooping_is_off_unless_switched_on(lab: NetLab, office: Lan) -> None:
    show = ["ip", "-d", "link", "show", "br0"]
    assert "mcast_snooping 0" in office.namespace.run(show).stdout
    office.snooping(True)
    assert "mcast_snooping 1" in office.namespace.run(show).stdout
    assert "mcast_snooping 1" in lab.lan("clever", snooping=True).namespace.run(show).stdout


def test_a_filter_on_the_lan_drops_multicast_and_nothing_else(office: Lan, hosts: Pair) -> None:
    a, b = hosts
    server, port = listener(b)
    office.filter_multicast(True)
    with server, udp(a) as at_a, udp(b, port=PORT) as at_b:
        at_a.sendto(b"filtered", (GROUP, PORT))
        assert heard(at_b, at_a, b.address(), "direct") == "direct"
        assert connects(a, b.address(), port)
    with udp6(a) as at_a, udp6(b, port=PORT) as at_b:
        at_a.sendto(b"filtered", (GROUP6, PORT))
        assert heard(at_b, at_a, b.address6(), "direct") == "direct"
        office.filter_multicast(False)
        assert heard(at_b, at_a, GROUP6, "free") in {"direct", "free"}
    with udp(a) as at_a, udp(b, port=PORT) as at_b:
        assert heard(at_b, at_a, GROUP, "free") == "free"


def test_a_firewall_drops_inbound_but_not_what_the_host_begins(hosts: Pair) -> None:
    a, b = hosts
    (server_a, port_a), (server_b, port_b) = listener(a), listener(b)
    with server_a, server_b, udp(a) as sender, udp(b, port=PORT) as receiver:
        b.firewall(tcp=True)
        assert not connects(a, b.address(), port_b, PATIENCE)
        assert not connects(a, b.address6(), port_b, PATIENCE)
        assert connects(b, a.address(), port_a)
        assert connects(b, "127.0.0.1", port_b)
        assert heard(receiver, sender, GROUP, "udp") == "udp"
        b.firewall(multicast=True)
        sender.sendto(b"filtered", (GROUP, PORT))
        assert heard(receiver, sender, b.address(), "direct") == "direct"
        b.firewall(udp=True)
        sender.sendto(b"filtered", (b.address(), PORT))
        assert connects(a, b.address(), port_b)
        b.firewall()
        assert heard(receiver, sender, b.address(), "open") == "open"


def test_a_pulled_cable_stops_traffic_until_it_is_put_back(hosts: Pair) -> None:
    a, b = hosts
    with udp(a) as at_a, udp(b, port=PORT) as at_b:
        assert heard(at_b, at_a, GROUP, "before") == "before"
        a.cable(up=False)
        with contextlib.suppress(OSError):  # the host may know already that it can not
            at_a.sendto(b"meanwhile", (GROUP, PORT))
        a.cable(up=True)
        assert heard(at_b, at_a, GROUP, "after") == "after"


def test_a_pulled_cable_is_seen_as_a_missing_carrier(hosts: Pair) -> None:
    a, b = hosts
    carrier = ["cat", "/sys/class/net/eth0/carrier"]
    assert (a.carrier(), a.run(carrier).stdout) == (True, "1\n")
    with a.socket(socket.AF_NETLINK, socket.SOCK_RAW) as events:
        events.bind((0, 1))  # RTMGRP_LINK
        a.cable(up=False)
        assert readable(events.fileno())  # the host is told
    assert (a.carrier(), b.carrier(), a.run(carrier).stdout) == (False, True, "0\n")
    seen = a.run(["ip", "addr", "show", "eth0"]).stdout
    assert ("NO-CARRIER" in seen, a.address() in seen) == (True, True)
    a.cable(up=True)
    assert (a.carrier(), a.run(carrier).stdout) == (True, "1\n")


def test_an_unplugged_interface_is_away_and_comes_back_the_same(lab: NetLab, office: Lan, hosts: Pair) -> None:
    a, b = hosts
    a.attach(lab.lan("cafe"))
    before = a.run(["cat", "/sys/class/net/eth0/address"], check=True).stdout
    with a.unplugged(office):
        links = a.run(["ip", "link", "show"], check=True).stdout
        assert ("eth0" in links, "eth1" in links, a.carrier()) == (False, True, False)
    with a.unplugged():
        assert "eth" not in a.run(["ip", "-o", "-brief", "link"], check=True).stdout
    assert a.run(["cat", "/sys/class/net/eth0/address"], check=True).stdout == before
    with udp(a, port=PORT) as at_a, udp(b, port=PORT) as at_b:
        assert heard(at_a, at_b, a.address(), "direct") == "direct"
        assert heard(at_b, at_a, GROUP, "back") == "back"


def test_a_host_moves_from_one_lan_to_another_while_running(lab: NetLab, office: Lan, hosts: Pair) -> None:
    a, b = hosts
    cafe = lab.lan("cafe")
    server, port = listener(a)
    assert a.attach(cafe) == "eth1"
    a.detach(office)
    assert [lan.name for lan in a.lans] == ["cafe"]
    with server:
        assert connects(lab.host("c", cafe), a.address(), port)
    assert a.attach(office, address="10.77.1.99") == "eth0"
    with udp(a, office) as at_a, udp(b, port=PORT) as at_b:
        at_a.sendto(b"home", (GROUP, PORT))
        assert at_b.recvfrom(64)[1][0] == "10.77.1.99"


@pytest.mark.parametrize("seed", [None, 1], ids=["as the kernel can", "in user space"])
def test_delay_is_added_each_way_changed_and_taken_away(office: Lan, hosts: Pair, seed: int | None) -> None:
    a, b = hosts
    assert round_trip(a, b) < 0.05
    office.link_quality(a, delay_ms=100, seed=seed)
    assert 0.2 <= round_trip(a, b) < 0.4
    office.link_quality(a, delay_ms=40, seed=seed)
    assert 0.08 <= round_trip(a, b) < 0.2
    office.link_quality(a)
    assert round_trip(a, b) < 0.05


def lossy_exchange(office: Lan, hosts: Pair, seed: int | None) -> set[int]:
    """Which of 200 numbered datagrams arrive over a cable that loses 30 %."""
    a, b = hosts
    round_trip(a, b)
    office.link_quality(a, loss=0.3, seed=seed)
    arrived: set[int] = set()
    with udp(a) as at_a, udp(b, port=PORT) as at_b:
        for number in range(200):
            at_a.sendto(str(number).encode(), (b.address(), PORT))
        while (word := heard(at_b, at_a, b.address(), "end")) != "end":
            arrived.add(int(word))
    office.link_quality(a)
    return arrived


def test_loss_takes_its_share_and_with_a_seed_the_same_each_time(office: Lan, hosts: Pair) -> None:
    first = lossy_exchange(office, hosts, seed=7)
    assert 100 <= len(first) <= 180
    assert lossy_exchange(office, hosts, seed=7) == first
    assert lossy_exchange(office, hosts, seed=8) != first
    assert 90 <= len(lossy_exchange(office, hosts, seed=None)) <= 190  # over 7 standard deviations


def test_a_rate_makes_bytes_take_their_time(office: Lan, hosts: Pair) -> None:
    office.link_quality(hosts[0], rate_mbit=0.1)
    assert 0.16 <= round_trip(*hosts, size=1000) < 0.4  # with 42 bytes of headers: 83 ms each way


def test_quality_changes_under_a_running_program_and_stays_with_the_cable(office: Lan, hosts: Pair) -> None:
    a, b = hosts
    with udp(a, port=PORT) as at_a, udp(b) as at_b:
        office.link_quality(a, delay_ms=30, seed=3)
        assert heard(at_a, at_b, GROUP, "still a member") == "still a member"
    a.cable(up=False)
    assert not a.carrier()
    a.cable(up=True)
    with a.unplugged():
        pass
    assert round_trip(a, b) >= 0.06
    a.detach(office)
    assert len(office.namespace.run(["ip", "-o", "link"], check=True).stdout.splitlines()) == 3  # lo, br0, b's port


def test_the_pump_delivers_in_order_and_bounds_its_queue() -> None:
    way = Direction("there")
    way.set(Setting(delay=1.0))
    assert way.offer(b"first", 10.0)
    way.set(Setting(delay=0.1))
    assert way.offer(b"second", 10.1)  # a shorter delay does not let it overtake
    assert (way.deadline(), way.take_due(10.99)) == (11.0, [])
    assert way.take_due(11.0) == [b"first", b"second"]
    way.set(Setting(rate=1000.0))
    taken = sum(way.offer(bytes(1000), 20.0) for _ in range(1000))
    assert QUEUE_BYTES <= taken * 1000 <= QUEUE_BYTES + 2000
    assert way.deadline() == 21.0


def test_the_pump_gives_each_kind_of_traffic_its_own_chances() -> None:
    arp_frame = bytes(12) + b"\x08\x06" + bytes(46)
    udp_frame = bytes(12) + b"\x08\x00" + bytes(9) + b"\x11" + bytes(40)

    def fates(*frames: bytes) -> list[bool]:
        way = Direction("there")
        way.set(Setting.parse(Setting(loss=0.5, seed="42").line()))
        return [[way.offer(frame, 0.0) for frame in frames][-1] for _ in range(50)]

    assert fates(udp_frame) == fates(arp_frame, udp_frame)
    assert 10 < sum(fates(udp_frame)) < 40


async def test_a_hosts_socket_lives_in_its_network_and_in_any_event_loop(hosts: Pair) -> None:
    a, b = hosts
    with udp(a) as at_a, udp(b, port=PORT) as at_b:
        at_a.setblocking(False)
        at_b.setblocking(False)
        async with asyncio.timeout(DEADLINE):
            loop = asyncio.get_running_loop()
            await loop.sock_sendto(at_a, b"hello", (b.address(), PORT))
            text, origin = await loop.sock_recvfrom(at_b, 64)
    assert (text, origin[0]) == (b"hello", a.address())


def test_python_runs_inside_a_host_apart_from_the_machines_network(hosts: Pair) -> None:
    a, _b = hosts
    outside = socket.if_nameindex()
    assert [name for _index, name in a.call(socket.if_nameindex)] == ["lo", "eth0"]
    with a.enter():
        assert [name for _index, name in socket.if_nameindex()] == ["lo", "eth0"]
    assert socket.if_nameindex() == outside
    with pytest.raises(ZeroDivisionError):
        a.call(divmod, 1, 0)


def test_programs_run_with_the_hosts_own_home(hosts: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = hosts
    monkeypatch.setenv("SANDPIPER_INTERFACES", "lo")  # about the machine, not about the host
    done = a.run(["sh", "-c", "cat; env | grep ^SANDPIPER; exit $STATUS"], env={"STATUS": "3"}, input="in\n")
    assert (done.stdout, done.returncode) == (f"in\nSANDPIPER_HOME={a.home}\n", 3)
    assert (a.home.is_dir(), a.home != b.home) == (True, True)
    with pytest.raises(NetLabError, match=r"status 4.*told you"):
        a.run(["sh", "-c", "echo told you >&2; exit 4"], check=True)


def test_a_program_that_does_not_end_is_killed_with_its_children(hosts: Pair, tmp_path: Path) -> None:
    script = "sleep 1000 & echo $! > child; echo so far >&2; wait"
    with pytest.raises(NetLabError, match=r"did not end within 0\.5 s.*so far"):
        hosts[0].run(["sh", "-c", script], cwd=tmp_path, timeout=0.5)
    child = int((tmp_path / "child").read_text())
    with contextlib.suppress(ProcessLookupError), open(os.pidfd_open(child)) as handle:
        assert readable(handle.fileno())


def test_errors_say_what_happened_why_and_what_to_do_next(lab: NetLab, office: Lan, hosts: Pair) -> None:
    a = hosts[0]
    plain = lab.lan("plain", ipv6=False)
    lonely, gone = lab.host("lonely"), lab.host("gone", plain)
    gone.unplug()
    complaints: dict[str, Callable[[], object]] = {
        r"could not frob: .*Cannot find device.*at `link set eth9 up`.*Next:": lambda: a.ip(
            ["link set eth9 up"], step="frob"
        ),
        "'../x' can not name": lambda: lab.host("../x"),
        "can not name a LAN.*Use up to 32": lambda: lab.lan("x" * 33),
        "has a 'office' already.*a name of its own": lambda: lab.host("office"),
        r"'300\.1\.1\.0/24'.*Try 10\.0\.0\.0/24": lambda: lab.lan("cafe", subnet="300.1.1.0/24"),
        "on the LAN office already": lambda: a.attach(office),
        "it is taken.*Choose another": lambda: lonely.attach(office, address=a.address()),
        "on no LAN.*Attach it first": lonely.address,
        "could not pull the cable.*Cannot find device": lambda: gone.cable(up=False),
        "not on the LAN plain.*Attach it first": lambda: a.address(plain),
        "no IPv6.*ipv6=True": gone.address6,
        "share from 0 to 1": lambda: office.link_quality(a, loss=5),
    }
    for complaint, cause in complaints.items():
        with pytest.raises(NetLabError, match=complaint):
            cause()


def test_a_lab_of_three_hosts_is_there_in_well_under_a_second(lab: NetLab) -> None:
    start = time.monotonic()
    office = lab.lan("office")
    assert {lab.host(name, office).carrier() for name in "abc"} == {True}
    assert time.monotonic() - start < 1.0


def test_a_closed_lab_leaves_nothing(lab: NetLab, office: Lan, hosts: Pair) -> None:
    a, b = hosts
    office.link_quality(a, delay_ms=1, seed=1)
    program = b.popen(["sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & wait"], stdout=subprocess.PIPE)
    assert program.stdout is not None
    with open(os.pidfd_open(int(program.stdout.readline()))) as daemon:
        lab.close()
        assert readable(daemon.fileno())
    assert program.returncode == -signal.SIGKILL
    assert namespaces_of(lab.prefix) == []
    assert not a.home.exists()
    lab.close()  # again: nothing happens
    with pytest.raises(NetLabError, match="not open"):
        lab.lan("again")
    with pytest.raises(NetLabError, match="is gone"):
        a.socket()


def test_a_failing_test_leaves_no_namespace(lab: NetLab, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_failing.py").write_text(
        "from sandpiper.testing.netlab import NetLab\n"
        "def test_failing():\n"
        "    with NetLab() as lab:\n"
        "        lab.host('a', lab.lan('office')).popen(['sleep', '1000'])\n"
        "        assert lab.prefix == ''\n"
    )
    with python(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)) as child:
        told = child.communicate(timeout=60)[0]
    prefix: str = re.findall(r"assert '(sp[\d.]+)' == ''", told)[0]
    assert namespaces_of(prefix) == []
    assert not list(tmp_path.glob("sp*"))


def test_a_new_lab_removes_what_a_killed_one_left_and_nothing_else(
    lab: NetLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with child_with_lab(tmp_path) as (living, kept, _), child_with_lab(tmp_path) as (killed, left, program):
        killed.kill()
        killed.wait(DEADLINE)
        assert len(namespaces_of(left)) == 2
        with NetLab():
            assert (namespaces_of(left), list(tmp_path.glob(f"{left}-*"))) == ([], [])
            assert readable(program)
            assert (len(namespaces_of(kept)), len(list(tmp_path.glob(f"{kept}-*")))) == (2, 1)
        living.communicate("", timeout=DEADLINE)
    assert (living.returncode, namespaces_of(kept), list(tmp_path.glob("sp*"))) == (0, [], [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_lab_cleans_up_when_its_process_is_told_to_end(lab: NetLab, tmp_path: Path, number: signal.Signals) -> None:
    with child_with_lab(tmp_path) as (child, prefix, program):
        child.send_signal(number)
        assert child.wait(DEADLINE) == -number
        assert readable(program)
    assert namespaces_of(prefix) == []
    assert not list(tmp_path.glob("sp*"))
