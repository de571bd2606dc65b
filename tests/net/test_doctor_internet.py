"""The doctor beyond the LAN, in the lab: behind each kind of NAT, without a relay, through a proxy, with a router."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from sandpiper.testing.netlab import CONE, SYMMETRIC, WEB_ONLY, Host, Internet, NatRules, NetLab, Router, available
from tests.net.test_doctor_lab import Report, examine
from tests.net.test_portmap_lab import count_packets, counted
from tests.net.upnpd import MISSING, Upnpd
from tests.process import Process
from tests.program import SANDPIPER

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

HOMES = "192.168.1.0/24"
WAIT = 0.1  # seconds to listen for peers, who are not what this is about

# A proxy that knows CONNECT, to port 443 alone.
PROXY = """
import asyncio

async def copy(reader, writer):
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
    except OSError:
        pass
    writer.close()

async def serve(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    host, _, port = head.split()[1].decode().rpartition(":")
    if port != "443":
        writer.write(b"HTTP/1.1 403 Forbidden\\r\\n\\r\\n")
        writer.close()
        return
    far_reader, far_writer = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

async def main():
    async with await asyncio.start_server(serve, "0.0.0.0", 3128) as server:
        print("READY", flush=True)
        await server.serve_forever()

asyncio.run(main())
"""


class Served(Process[str]):
    """`sandpiper relay` on a host, with a certificate of its own."""

    def __init__(self, host: Host, port: int, second: int) -> None:
        self.host, self.port = host, port
        self.lines: list[str] = []
        ports = ("--port", str(port), *(("--second-port", str(second)) if second else ()))
        command = (str(SANDPIPER), "relay", *ports, "--tls", "self-signed", "--data", str(host.home / str(port)))
        super().__init__(host.popen(command, stderr=subprocess.PIPE))
        self.follow(self._read)
        self.until(lambda me: "to pin: " in me.told(), "its fingerprint")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    @override
    def told(self) -> str:
        return "".join(self.lines)

    def named(self, kind: str = "tcp") -> str:
        found = re.search(r"to pin: ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})", self.told())
        assert found is not None
        pin = f"#{found[1]}" if kind in ("tls", "wss") else ""
        return f"{kind}://{self.host.address()}:{self.port}{pin}"


@pytest.fixture
def relay(far: Host) -> Iterator[Served]:
    with Served(far, 8000, 8001) as served:
        yield served


def home(lab: NetLab, internet: Internet, rules: NatRules = CONE) -> tuple[Router, Host]:
    lan = lab.lan("home", subnet=HOMES, ipv6=False)
    return lab.router("router", internet, lan, rules=rules), lab.host("a", lan)


def codes(report: Report, *checks: str) -> dict[str, str]:
    """The code of each of these checks, which has one finding."""
    found = {check: [code for name, code in report.findings if name == check] for check in checks}
    assert all(len(some) == 1 for some in found.values()), found
    return {check: some[0] for check, some in found.items()}


BEYOND = ("relay", "nat", "ipv6", "mapping", "direct")


def test_without_a_relay_nothing_beyond_the_lan_is_asked(lab: NetLab, internet: Internet, relay: Served):
    _, a = home(lab, internet)
    count_packets(a, "beyond", "ip daddr != 224.0.0.0/4 meta l4proto { tcp, udp }")
    report = examine(a, WAIT)
    assert codes(report, "relay") == {"relay": "none"}
    assert not any(check in BEYOND[1:] for check, _ in report.findings)
    assert counted(a, "beyond") == 0
    examine(a, WAIT, SANDPIPER_RELAY=relay.named())
    assert counted(a, "beyond") > 0


def test_open_machine_can_be_linked_with_everybody(lab: NetLab, internet: Internet, relay: Served):
    a = lab.host("a", internet)
    report = examine(a, WAIT, SANDPIPER_RELAY=relay.named())
    assert report.exit == 0, report.findings
    assert codes(report, *BEYOND) == {
        "relay": "reached", "nat": "open", "ipv6": "none", "mapping": "public", "direct": "everybody",
    }  # fmt: skip
    assert a.address() in report["nat", "open"]["seen"]
    assert report["clock", "agree"]["seen"].startswith("The relay's clock")
    assert "Asking the relay" in report.progress


def test_cone_can_be_linked_with_most(lab: NetLab, internet: Internet, relay: Served):
    router, a = home(lab, internet)
    report = examine(a, WAIT, SANDPIPER_RELAY=relay.named("tls"))
    assert report.exit == 0, report.findings
    assert codes(report, *BEYOND) == {
        "relay": "reached", "nat": "same", "ipv6": "none", "mapping": "none", "direct": "most",
    }  # fmt: skip
    assert router.address() in report["nat", "same"]["seen"]
    assert report["relay", "reached"]["details"][0].startswith(f"tls://{relay.host.address()}:8000: round trip ")


def test_symmetric_nat_is_told_with_what_it_means_and_what_mends_it(lab: NetLab, internet: Internet, relay: Served):
    _, a = home(lab, internet, SYMMETRIC)
    report = examine(a, WAIT, SANDPIPER_RELAY=relay.named("wss"))
    assert report.exit == 0, report.findings
    assert codes(report, *BEYOND) == {
        "relay": "reached", "nat": "different", "ipv6": "none", "mapping": "none", "direct": "open_only",
    }  # fmt: skip
    finding = report["direct", "open_only"]
    assert finding["status"] == "warn"
    assert "192.168.1.1" in finding["fix"][0]


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_what_the_doctor_says_mends_a_symmetric_nat_does(lab: NetLab, internet: Internet, relay: Served):
    router, a = home(lab, internet, SYMMETRIC)
    with Upnpd(router) as upnpd:
        report = examine(a, WAIT, SANDPIPER_RELAY=relay.named())
        assert codes(report, "nat", "mapping", "direct") == {
            "nat": "different", "mapping": "offered", "direct": "everybody",
        }  # fmt: skip
        outside = f"answers, outside {router.address()}"
        assert report["mapping", "offered"]["details"] == ["PCP: answers", f"NAT-PMP: {outside}", f"UPnP: {outside}"]
        assert upnpd.mapped() == set(), "the doctor maps nothing"


def test_relay_without_a_second_port_says_what_is_missing(lab: NetLab, internet: Internet, far: Host):
    _, a = home(lab, internet)
    with Served(far, 8000, 0) as relay:
        report = examine(a, WAIT, SANDPIPER_RELAY=relay.named())
    assert "--second-port" in report["nat", "not_told"]["fix"][0]
    assert codes(report, "direct") == {"direct": "unknown"}


def test_relay_that_is_reached_by_its_second_port_says_which_one_is_missing(lab: NetLab, internet: Internet, far: Host):
    _, a = home(lab, internet)
    with Served(far, 8000, 443) as relay:
        report = examine(a, WAIT, SANDPIPER_RELAY=relay.named("tls").replace(":8000", ":443"))
    assert "other port" in report["nat", "not_told"]["fix"][0]


def test_relay_that_does_not_run_fails_and_another_that_does_makes_it_a_warning(
    lab: NetLab, internet: Internet, relay: Served
):
    _, a = home(lab, internet)
    dead = f"{relay.host.address()}:9000"
    report = examine(a, WAIT, SANDPIPER_RELAY=dead)
    assert report.exit == 3
    finding = report["relay", "unreachable"]
    assert finding["status"] == "fail"
    assert "nothing listens there" in finding["seen"]
    assert "nobody beyond this network" in report["direct", "unknown"]["seen"]
    report = examine(a, WAIT, SANDPIPER_RELAY=f"{dead},{relay.named()}")
    assert report.exit == 0, report.findings
    assert report["relay", "unreachable"]["status"] == "warn"
    assert report["nat", "same"]["status"] == "ok"


def test_relay_that_is_away_and_a_name_that_nobody_has_are_told_apart_in_a_few_seconds(lab: NetLab, internet: Internet):
    _, a = home(lab, internet)
    report = examine(a, WAIT, SANDPIPER_RELAY=f"11.0.0.99,{'x' * 64}.invalid,relay.invalid")
    assert report.exit == 3
    assert "relay.invalid" in report["relay", "no_name"]["seen"], "no name server answers in the lab"
    assert report["relay", "unreachable"]["seen"].startswith("11.0.0.99: Could not reach 11.0.0.99:8000: No route")
    assert report["relay", "no_name"]["status"] == "fail"
    assert report.summary["seconds"] < 15


def test_other_program_on_the_relays_port_and_a_wrong_certificate_are_named(
    lab: NetLab, internet: Internet, far: Host, relay: Served
):
    _, a = home(lab, internet)
    other = (
        "import socket\ns = socket.create_server(('', 9000)); print('READY', flush=True)\n"
        "while True: s.accept()[0].send(b'220 hello\\n')"
    )
    process = far.popen([sys.executable, "-c", other], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "READY\n"
    wrong = f"tls://{far.address()}:8000#sha256:{'ab' * 32}"
    report = examine(a, WAIT, SANDPIPER_RELAY=f"{far.address()}:9000,{wrong}")
    assert report.exit == 3
    assert report["relay", "not_a_relay"]["status"] == "fail"
    assert "another certificate" in report["relay", "bad_certificate"]["seen"]


def test_where_only_the_web_gets_out_the_relay_on_443_is_reached_and_nobody_else(
    lab: NetLab, internet: Internet, far: Host
):
    _, a = home(lab, internet, WEB_ONLY)
    with Served(far, 443, 8001) as web, Served(far, 8000, 8002) as plain:
        report = examine(a, WAIT, SANDPIPER_RELAY=plain.named())
        assert report.exit == 3
        assert any("wss://" in step for step in report["relay", "unreachable"]["fix"])
        report = examine(a, WAIT, SANDPIPER_RELAY=web.named("wss"))
        assert report.exit == 0
        assert codes(report, "relay", "nat", "direct") == {
            "relay": "reached", "nat": "second_blocked", "direct": "relay_only",
        }  # fmt: skip


def test_through_a_proxy_that_lets_only_443_out_the_relay_is_reached(lab: NetLab, internet: Internet, far: Host):
    company = lab.lan("company", ipv6=False)
    proxy, a = lab.host("proxy", company, internet), lab.host("a", company)
    process = proxy.popen([sys.executable, "-c", PROXY], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "READY\n"
    via = {"HTTPS_PROXY": f"http://{proxy.address(company)}:3128"}
    with Served(far, 443, 8001) as web, Served(far, 8000, 8002) as plain:
        report = examine(a, WAIT, SANDPIPER_RELAY=web.named("wss"))
        assert report.exit == 3
        assert "no default route" in report["relay", "unreachable"]["why"]
        report = examine(a, WAIT, SANDPIPER_RELAY=web.named("wss"), **via)
        assert report.exit == 0
        assert codes(report, "relay", "nat", "mapping", "direct") == {
            "relay": "reached", "nat": "proxied", "mapping": "no_route", "direct": "relay_only",
        }  # fmt: skip
        assert f"through the proxy {proxy.address(company)}:3128" in report["relay", "reached"]["details"][0]
        report = examine(a, WAIT, SANDPIPER_RELAY=plain.named(), **via)
        assert report.exit == 3
        assert "status 403" in report["relay", "proxy_failed"]["seen"]
        assert any("443" in step for step in report["relay", "proxy_failed"]["fix"])


def test_own_wrong_clock_shows_at_the_relay(lab: NetLab, internet: Internet, relay: Served, far: Host):
    """The relay's clock is this machine's, so an hour is told in its place by somebody in between."""
    _, a = home(lab, internet)
    liar = (
        "import json, socket, time\n"
        "s = socket.create_server(('', 9000)); print('READY', flush=True)\n"
        "while True:\n"
        "    c = s.accept()[0]; c.recv(65536)\n"
        "    line = {'type': 'observed', 'host': '11.0.0.5', 'port': 5, 'time': int(time.time() * 1000) + 10800000}\n"
        "    c.send(json.dumps(line).encode() + b'\\n'); c.recv(1)\n"
    )
    process = far.popen([sys.executable, "-c", liar], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "READY\n"
    report = examine(a, WAIT, SANDPIPER_RELAY=f"{far.address()}:9000")
    finding = report["clock", "skewed"]
    assert "3 hours ahead of this one" in finding["seen"]
    assert finding["status"] == "warn"


def test_ipv6_that_leads_to_the_relay_is_found(lab: NetLab):
    lan = lab.lan("both", ipv6=False)
    a, far = lab.host("a", lan), lab.host("far", lan)
    for host, address in ((a, "2a00:5350::5"), (far, "2a00:5350::7")):
        host.ip([f"addr add {address}/64 dev {host.interface()} nodad"], step="give it a public IPv6 address")
    with Served(far, 8000, 8001) as relay:
        report = examine(a, WAIT, SANDPIPER_RELAY=f"[2a00:5350::7]:{relay.port}")
        assert report["ipv6", "reached"]["details"] == ["2a00:5350::5"]
        assert codes(report, "nat", "direct") == {"nat": "open", "direct": "everybody"}
        report = examine(a, WAIT, SANDPIPER_RELAY=relay.named())
        assert codes(report, "ipv6", "nat") == {"ipv6": "untried", "nat": "same_network"}
