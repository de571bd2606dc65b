"""The doctor on real networks: on loopback beside a real node, and in the lab with what blocks people."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandpiper.config import Address, Paths, load
from sandpiper.crypto.identity import Identity
from sandpiper.faces.doctor.checks import gather, judge
from sandpiper.faces.doctor.facts import HeardPeer
from sandpiper.faces.doctor.probes.ports import probe_ports
from sandpiper.faces.doctor.probes.reach import probe_reach
from sandpiper.node import Node, NodeSettings
from tests.oldpeer import OldPeer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandpiper.faces.doctor.findings import Finding
    from sandpiper.testing.netlab import Host, Lan, NetLab

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0

# A peer as people run it; says READY once others can find it, then everything that it is told.
PEER = """
import asyncio, os, pathlib, sys
from sandpiper.crypto.identity import Identity
from sandpiper.node import Node, NodeSettings

async def main():
    node = Node(Identity(os.urandom(32)), sys.argv[1], pathlib.Path(sys.argv[2]), NodeSettings(plain=True))
    node.subscribe(lambda notice: print(notice, flush=True))
    async with node:
        print("READY", node.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

asyncio.run(main())
"""
OLD_PEER = """
import sys
from tests.oldpeer import OldPeer

with OldPeer(sys.argv[1], interface=sys.argv[2], beacon_interval=0.3, clock_offset=float(sys.argv[3])) as peer:
    print("READY", peer.port, flush=True)
    sys.stdin.readline()
    print(*peer.peers.values(), *peer.received, sep="\\n", flush=True)
"""
DOCTOR = """
import sys
from sandpiper.config import Paths, load
from sandpiper.faces.doctor import run

paths = Paths.find()
wait = float(sys.argv[1]) if len(sys.argv) > 1 else None
sys.exit(run(load(paths).settings, paths, True, wait=wait))
"""


class Report:
    """What one run of the doctor said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events, done.stderr
        self.summary: dict[str, Any] = events.pop()
        assert self.summary["event"] == "summary"
        self.exit = done.returncode
        assert self.summary["exit"] == self.exit
        self.progress = done.stderr
        self.findings: dict[tuple[str, str], dict[str, Any]] = {(e["check"], e["code"]): e for e in events}

    def __getitem__(self, place: tuple[str, str]) -> dict[str, Any]:
        assert place in self.findings, list(self.findings)
        return self.findings[place]

    def status(self, check: str) -> set[str]:
        return {found["status"] for (name, _), found in self.findings.items() if name == check}


def examine(host: Host, wait: float | None = None, **settings: str) -> Report:
    words = [sys.executable, "-c", DOCTOR, *([] if wait is None else [str(wait)])]
    return Report(host.run(words, env=settings))


def mend(host: Host, finding: dict[str, Any]) -> None:
    """Type the commands that a finding prints, as root."""
    for step in finding["fix"]:
        if step.startswith("sudo nft"):
            host.run(step.removeprefix("sudo ").split(), check=True)


def ready(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("READY "), line
    return int(line.split()[1])


def run_peer(host: Host, nick: str) -> tuple[subprocess.Popen[str], int]:
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", PEER, nick, str(host.home / "history.db")]
    process = host.popen(words, stdin=pipe, stdout=pipe)
    return process, ready(process)


def run_old_peer(host: Host, nick: str, clock_offset: float = 0.0) -> tuple[subprocess.Popen[str], int]:
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", OLD_PEER, nick, host.address(), str(clock_offset)]
    process = host.popen(words, cwd=ROOT, stdin=pipe, stdout=pipe)
    return process, ready(process)


def end(process: subprocess.Popen[str]) -> list[str]:
    """End a peer and give what it said after READY."""
    return process.communicate("\n", timeout=DEADLINE)[0].splitlines()


@pytest.fixture
def office(lab: NetLab) -> Lan:
    return lab.lan("office")


@pytest.fixture
def hosts(lab: NetLab, office: Lan) -> tuple[Host, Host]:
    return lab.host("a", office), lab.host("b", office)


# ---------------------------------------------------------------- on loopback, beside a node of this process


async def look(wait: float | None = None, **flags: object) -> dict[tuple[str, str], Finding]:
    paths = Paths.find()
    facts = await gather(load(paths, flags).settings, paths, wait, lambda _line: None)
    return {(finding.check, finding.code): finding for finding in judge(facts)}


async def test_node_on_this_machine_is_heard_and_dialled_and_never_meets_a_peer(
    home: Path, multicast: str, tmp_path: Path
):
    told: list[object] = []
    settings = NodeSettings(interfaces=("lo",), group_port=int(multicast.partition(":")[2]), plain=True)
    node = Node(Identity(os.urandom(32)), "alice", tmp_path / "history.db", settings)
    node.subscribe(told.append)
    with OldPeer("olga", multicast=("224.0.0.1", settings.group_port), beacon_interval=0.2, dial=False) as old:
        async with node:
            found = await look(port=node.port)
            known = list(old.peers.values())
    assert found["multicast", "works"].details == ("lo 127.0.0.1: heard",)
    assert any(line.startswith(f"alice: 127.0.0.1:{node.port}, ") for line in found["peers", "heard"].details)
    assert any("old p2pchat" in line for line in found["peers", "heard"].details)
    assert found["reach", "dialled"].status == "ok"
    assert found["clock", "agree"].status == "ok"
    assert found["port", "port_is_ours"].status == "warn"
    assert not [notice for notice in told if "doctor" in repr(notice)]
    assert {peer.username for peer in known} == {"alice"}
    assert old.rejected


async def test_nobody_on_this_machine_is_waited_for_only_as_long_as_asked(home: Path, multicast: str):
    paths = Paths.find()
    facts = await gather(load(paths).settings, paths, 0.2, lambda _line: None)
    assert 0.2 <= facts.air.listened < 2.0
    assert facts.air.peers == ()


@pytest.mark.parametrize(
    "words", [b"", b"220 mail.example.org ESMTP\r\n", b"SANDPIPER/1\n\xff\xff", b"SANDPIPER/1\n\x00\x01x"]
)
async def test_other_program_on_a_peers_port_is_told_from_a_peer(words: bytes, home: Path, multicast: str):
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await look(0.1, peers=f"127.0.0.1:{port}")
    assert found["reach", "not_sandpiper"].status == "fail"


async def test_peer_with_another_key_than_its_beacon_says_is_told(multicast: str, tmp_path: Path):
    settings = NodeSettings(interfaces=("lo",), multicast=False)
    async with Node(Identity(os.urandom(32)), "alice", tmp_path / "history.db", settings) as node:
        place = Address("127.0.0.1", node.port)
        right = HeardPeer(nick="alice", key=node.key.hex(), places=(place,))
        wrong = HeardPeer(nick="mallory", key="00" * 32, places=(place,))
        outcomes = [reach.outcome for reach in await probe_reach([right, wrong], [], [])]
        assert outcomes == ["ok", "stranger"]
        assert node.linked() == ()
        both = HeardPeer(nick="alice", key=node.key.hex(), places=(Address("127.0.0.1", 1), place))
        [reach] = await probe_reach([both], [place], [])
        assert (reach.outcome, reach.place) == ("ok", place)


async def test_port_that_nobody_has_and_name_that_nobody_has_are_told_apart(home: Path, multicast: str):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        found = await look(0.1, peers=f"127.0.0.1:{port}")
    assert found["reach", "tcp_refused"].status == "fail"
    found = await look(0.1, peers=f"{'x' * 64}.invalid:8080")  # a name that needs no asking: labels have 63 at most
    assert found["reach", "dial_failed"].status == "fail"


def test_ports_are_tried_and_their_holder_found():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        ports = probe_ports(port)
    assert [holder.port for holder in ports.taken] == [port]
    assert ports.free is not None
    if sys.platform == "linux":
        assert ports.taken[0].pid == os.getpid()
    assert probe_ports(port).free == port
    assert probe_ports(port).taken == ()


# ---------------------------------------------------------------- in the lab: what works


def test_lan_with_a_peer_is_fine_in_three_seconds_and_nobody_meets_the_doctor(lab: NetLab, office: Lan):
    a, b, c = (lab.host(name, office) for name in "abc")
    (peer, port), (old, _) = run_peer(b, "bob"), run_old_peer(c, "olga")
    report = examine(a)
    assert report.exit == 0, report.findings
    assert report.summary["seconds"] < 3.5  # three, and a slow machine's start
    assert report["interfaces", "connected"]["details"][1].startswith(f"eth0: {a.address()}")
    assert "no default route" in report["interfaces", "connected"]["seen"]
    assert report["multicast", "works"]["status"] == "ok"
    assert any(line.startswith(f"bob: {b.address()}:{port}, ") for line in report["peers", "heard"]["details"])
    assert report["reach", "dialled"]["status"] == "ok"
    assert report["clock", "agree"]["status"] == "ok"
    assert {found["status"] for found in report.findings.values()} == {"ok"}
    assert "Listening" in report.progress
    assert "doctor" not in "".join(end(peer))
    assert "doctor" not in "".join(end(old))


def test_nobody_there_is_said_within_seven_seconds(hosts: tuple[Host, Host]):
    report = examine(hosts[0])
    assert report.exit == 0, report.findings
    assert 6.0 < report.summary["seconds"] < 8.5
    assert report["peers", "nobody"]["status"] == "warn"


# ---------------------------------------------------------------- in the lab: what blocks


def test_network_that_filters_multicast_is_named_with_the_way_around(office: Lan, hosts: tuple[Host, Host]):
    a, b = hosts
    office.filter_multicast(True)
    _, port = run_peer(b, "bob")
    report = examine(a, 1.0)
    assert report["multicast", "works"]["status"] == "ok", "this machine is not to blame"
    finding = report["peers", "nobody"]
    assert "filters multicast" in finding["why"]
    assert any(f"sandpiper --peer {a.address()}:" in step for step in finding["fix"])
    report = examine(a, 1.0, SANDPIPER_PEERS=f"{b.address()}:{port}")
    finding = report["peers", "multicast_filtered"]
    assert finding["status"] == "warn"
    assert f"sandpiper --peer {b.address()}:{port}" in finding["fix"][0]
    assert report["reach", "dialled"]["status"] == "ok"
    assert report.exit == 0, report.findings


def test_own_firewall_that_lets_no_beacon_out_is_named(hosts: tuple[Host, Host]):
    a, _ = hosts
    a.firewall(multicast=True)
    report = examine(a, 0.5)
    assert report.exit == 3
    finding = report["multicast", "filtered_out"]
    assert finding["status"] == "fail"
    assert "Operation not permitted" in finding["seen"]
    mend(a, finding)
    assert examine(a, 0.5)["multicast", "works"]["status"] == "ok"


def test_own_firewall_that_lets_no_beacon_in_is_named_and_the_printed_command_mends_it(hosts: tuple[Host, Host]):
    a, b = hosts
    a.firewall(udp=True)
    run_peer(b, "bob")
    report = examine(a, 0.5)
    assert report.exit == 3
    finding = report["multicast", "filtered_in"]
    assert "does that" in finding["seen"]
    assert finding["fix"][0] == "sudo nft insert rule inet sandpiper input udp dport 9999 accept"
    assert report["firewall", "drops"]["seen"].endswith("drops incoming UDP 9999.")
    mend(a, finding)
    report = examine(a)
    assert report["multicast", "works"]["status"] == "ok"
    assert report["peers", "heard"]["status"] == "ok"


def test_own_firewall_that_lets_no_dial_in_is_named_and_the_printed_command_mends_it(hosts: tuple[Host, Host]):
    a, b = hosts
    a.firewall(tcp=True)
    _, port = run_peer(a, "alice")
    finding = examine(a, 0.5)["firewall", "drops"]
    assert finding["seen"].endswith("drops incoming TCP 8080 to 8999.")
    assert examine(b)["reach", "tcp_blocked"]["status"] == "fail"
    mend(a, finding)
    assert examine(a, 0.5)["firewall", "lets_in"]["status"] == "ok"
    assert examine(b)["reach", "dialled"]["details"][0].startswith(f"alice {a.address()}:{port}")


def test_peer_whose_firewall_drops_tcp_is_named(lab: NetLab, office: Lan, hosts: tuple[Host, Host]):
    a, b = hosts
    run_peer(b, "bob")
    b.firewall(tcp=True)
    report = examine(a)
    assert report.exit == 3
    finding = report["reach", "tcp_blocked"]
    assert finding["status"] == "fail"
    assert "beacons arrive and TCP does not" in finding["why"]
    assert any("ufw allow 8080:8999/tcp" in step for step in finding["fix"])
    run_peer(lab.host("c", office), "carol")
    report = examine(a)
    assert report.exit == 0, report.findings
    assert report["reach", "tcp_blocked"]["status"] == "warn", "one of two is no failure of the network"


def test_peer_that_does_not_hear_us_is_named(hosts: tuple[Host, Host]):
    a, b = hosts
    run_peer(b, "bob")
    b.firewall(udp=True)
    report = examine(a)
    assert report["peers", "one_way"]["seen"] == "bob can be heard, but did not answer."


@pytest.mark.parametrize(("hours", "words"), [(3, "3 hours ahead of"), (-48, "2 days behind")])
def test_peer_with_a_wrong_clock_is_named(hosts: tuple[Host, Host], hours: int, words: str):
    a, b = hosts
    run_old_peer(b, "olga", hours * 3600.0)
    report = examine(a, 1.0)
    finding = report["clock", "skewed"]
    assert finding["status"] == "warn"
    assert finding["seen"] == f"The clock of olga is {words} this one."
    assert "refuses messages" in finding["why"]
    assert report.exit == 0, report.findings


def test_own_wrong_clock_is_seen_by_the_clocks_of_several(lab: NetLab, office: Lan, hosts: tuple[Host, Host]):
    a, b = hosts
    run_old_peer(b, "olga", 5400.0)
    run_old_peer(lab.host("c", office), "oleg", 5400.0)
    assert "this machine's clock is 90 minutes behind" in examine(a, 1.0)["clock", "own_clock"]["seen"]


def test_port_in_use_is_named_with_its_program(hosts: tuple[Host, Host]):
    a, _ = hosts
    listen = "import socket, sys; s = socket.create_server(('', 8123)); print('READY 1', flush=True); sys.stdin.read()"
    holder = a.popen([sys.executable, "-c", listen], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    ready(holder)
    report = examine(a, 0.2, SANDPIPER_PORT="8123")
    assert report.exit == 1
    finding = report["port", "port_in_use"]
    assert f"(process {holder.pid})" in finding["seen"]
    assert finding["fix"][0] == "sandpiper --port 8080"


def test_machine_without_a_network_is_told_from_one_with_a_pulled_cable(lab: NetLab, office: Lan):
    lonely, pulled = lab.host("lonely"), lab.host("pulled", office)
    report = examine(lonely, 0.2)
    assert report.exit == 0, report.findings
    assert report["interfaces", "only_loopback"]["status"] == "warn"
    assert report["multicast", "works"]["status"] == "ok"
    pulled.cable(up=False)
    finding = examine(pulled, 0.2)["interfaces", "only_loopback"]
    assert any(line.startswith("eth0: ") and line.endswith("not connected") for line in finding["details"])


def test_interface_that_the_settings_name_in_vain_fails(hosts: tuple[Host, Host]):
    report = examine(hosts[0], 0.2, SANDPIPER_INTERFACES="eth9")
    assert report.exit == 3
    assert "eth9" in report["interfaces", "no_interface"]["seen"]


def test_vpn_with_the_default_route_is_suspected_while_nobody_is_heard(hosts: tuple[Host, Host]):
    a, b = hosts
    lines = ["link add wg0 type veth peer name far", "addr add 10.9.0.2/24 dev wg0", "link set far up"]
    a.ip([*lines, "link set wg0 up", "route add default dev wg0"], step="make a VPN")
    assert examine(a, 0.2)["interfaces", "vpn"]["status"] == "warn"
    run_peer(b, "bob")
    assert examine(a)["interfaces", "vpn"]["status"] == "ok"


def test_two_networks_are_both_used(lab: NetLab, office: Lan):
    a, b, c = lab.host("a", office), lab.host("b", office), lab.host("c")
    other = lab.lan("other")
    a.attach(other)
    c.attach(other)
    run_peer(b, "bob")
    run_peer(c, "carol")
    report = examine(a, 6.5)  # patient: on a busy machine one peer answers long before the other
    assert "eth0, eth1 are connected" in report["interfaces", "connected"]["seen"]
    details = report["reach", "dialled"]["details"]
    assert [line.partition(" ")[0] for line in details] == ["bob", "carol"]


def test_lan_of_ipv6_alone_works(lab: NetLab, office: Lan):
    a, b = lab.host("a", office), lab.host("b", office)
    for host in (a, b):
        host.ip([f"addr del {host.address()}/24 dev {host.interface()}"], step="leave IPv6 alone")
    run_peer(b, "bob")
    report = examine(a)
    assert report["peers", "heard"]["status"] == "ok"
    assert report["reach", "dialled"]["status"] == "ok"


# ---------------------------------------------------------------- disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", place], check=False)
    if done.returncode != 0:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def on_disk(home: Path) -> Report:
    words = [sys.executable, "-c", DOCTOR, "0.1"]
    env = {**os.environ, "SANDPIPER_HOME": str(home)}
    return Report(subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=DEADLINE))


def test_disk_that_is_nearly_or_quite_full_is_named(small_disk: Path, multicast: str):
    report = on_disk(small_disk)
    assert report.exit == 1
    assert report["data", "little_space"]["status"] == "fail"
    assert report["data", "writable"]["status"] == "ok"
    with (small_disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    report = on_disk(small_disk)
    assert report.exit == 1
    assert "is full" in report["data", "disk_full"]["seen"]
    assert [path.name for path in small_disk.iterdir()] == ["filler"], "nothing is left behind"


def test_disk_that_is_read_only_is_named(small_disk: Path, multicast: str):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    report = on_disk(small_disk)
    assert report.exit == 1
    assert "Read-only file system" in report["data", "not_writable"]["seen"]


# ---------------------------------------------------------------- text for people


def test_report_for_people_goes_to_stdout_and_progress_to_stderr(home: Path, multicast: str):
    words = [sys.executable, "-c", DOCTOR.replace("True, wait", "False, wait"), "0.1"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert done.stdout.isascii()
    assert "!! terminal" in done.stdout
    assert "Listening" in done.stderr
    assert "Listening" not in done.stdout
