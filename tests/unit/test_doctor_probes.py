"""What the doctor's probes make of what they meet: datagrams, firewall programs, terminals."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from sandpiper.config import Address
from sandpiper.faces.doctor.facts import Firewall
from sandpiper.faces.doctor.probes.air import MAX_PEERS, MAX_STRANGE, Ear
from sandpiper.faces.doctor.probes.firewall import probe_firewall
from sandpiper.faces.doctor.probes.question import encode_question
from sandpiper.faces.doctor.probes.terminal import probe_terminal
from sandpiper.wire.beacon import Beacon, BeaconType, encode_beacon
from sandpiper.wire.ids import PeerKey

TOKEN = "0123456789abcdef"
OWN = {"192.168.1.5": "eth0", "fe80::5": "eth0"}

# ---------------------------------------------------------------- datagrams


def beacon(kind: BeaconType, number: int = 1, *, key: bool = True, ahead: float = 0.0, port: int = 8080) -> bytes:
    return encode_beacon(
        Beacon(
            type=kind,
            peer_id=f"peer-{number}",
            username=f"nick{number}",
            port=port,
            timestamp=time.time() + ahead,
            sequence=1,
            key=PeerKey(number.to_bytes(32, "big")) if key else None,
        )
    )


@pytest.fixture
def ear() -> Ear:
    return Ear(TOKEN, OWN)


def test_ear_hears_peers_and_their_clocks(ear: Ear):
    ear.heard(beacon("announce", 1, ahead=100.0), "192.168.1.20")
    ear.heard(beacon("announce", 2, key=False, ahead=-50.0), "192.168.1.21")
    ear.heard(beacon("announce", 2, key=False, ahead=-50.0), "192.168.1.21")
    first, second = ear.facts()
    assert (first.nick, first.native, first.here, first.answered) == ("nick1", True, False, False)
    assert first.places == (Address("192.168.1.20", 8080),)
    assert first.skew is not None
    assert 98.0 < first.skew < 100.1
    assert second.skew is not None
    assert -52.0 < second.skew < -49.0
    assert not second.native


def test_ear_knows_who_answered_and_who_is_here(ear: Ear):
    ear.heard(beacon("pong", 1), "192.168.1.5")
    assert ear.somebody(elsewhere=False)
    assert not ear.somebody(elsewhere=True)
    ear.heard(beacon("announce", 2), "192.168.1.20")
    assert ear.unanswered()
    assert not ear.somebody(elsewhere=True)
    ear.heard(beacon("pong", 2), "fe80::20")
    assert ear.somebody(elsewhere=True)
    assert not ear.unanswered()
    assert [(peer.nick, peer.here) for peer in ear.facts()] == [("nick2", False), ("nick1", True)]
    assert [str(place) for place in ear.facts()[0].places] == ["192.168.1.20:8080", "[fe80::20]:8080"]


def test_ear_does_not_wait_for_the_old_program_to_answer(ear: Ear):
    ear.heard(beacon("announce", 1, key=False), "192.168.1.20")
    assert not ear.unanswered()
    assert not ear.somebody(elsewhere=False)


def test_ear_forgets_who_leaves_and_knows_no_doctors(ear: Ear):
    ear.heard(beacon("announce", 1), "192.168.1.20")
    ear.heard(beacon("leave", 1), "192.168.1.20")
    ear.heard(beacon("ping", 2, port=0), "192.168.1.21")
    ear.heard(encode_question("fedcba9876543210", 1, "192.168.1.22"), "192.168.1.22")
    assert ear.facts() == ()
    assert not ear.strange


def test_ear_hears_itself(ear: Ear):
    ear.heard(encode_question(TOKEN, 1, "192.168.1.5"), "192.168.1.5")
    assert ear.echoes == {"192.168.1.5"}
    assert ear.facts() == ()


def test_ear_tells_another_version_from_noise_and_cleans_both(ear: Ear):
    fields = json.loads(beacon("announce", 1))
    fields["sp"]["v"] = 2
    ear.heard(json.dumps(fields).encode(), "192.168.1.20")
    ear.heard(b'{"type":"\x1b[31mevil"}', "192.168.1.21")
    ear.heard(b"\xff" * 2000, "192.168.1.22")
    assert {host: strange.version for host, strange in ear.strange.items()} == {
        "192.168.1.20": True,
        "192.168.1.21": False,
        "192.168.1.22": False,
    }
    assert all(strange.reason.isprintable() for strange in ear.strange.values())


def test_ear_has_bounds(ear: Ear):
    for number in range(MAX_PEERS + 50):
        ear.heard(beacon("announce", number), "192.168.1.20")
        ear.heard(b"noise", f"10.0.0.{number}")
    for port in range(1, 100):
        ear.heard(beacon("announce", 1, port=port), "192.168.1.20")
    assert len(ear.facts()) == MAX_PEERS
    assert len(ear.strange) == MAX_STRANGE
    assert max(len(peer.places) for peer in ear.facts()) < 10


# ---------------------------------------------------------------- programs that manage firewalls


NFT = {
    "nftables": [
        {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input"}},
        {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"xt": {"type": "target"}}]}},
    ]
}
IPTABLES = "-P INPUT ACCEPT\n-A INPUT -p tcp -j DROP\n"
ZONE = "public\n  target: default\n  ports: 9999/udp\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pretended programs that come before the system's."""
    if os.name != "posix":
        pytest.skip("the pretended programs are shell scripts")
    for name in ("nft", "iptables", "firewall-cmd"):
        pretend(tmp_path, name, "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def pretend(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def says(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    pretend(folder, name, f"cat '{folder / name}.txt'")


def linux_firewall() -> Firewall:
    return probe_firewall("linux", Address("224.0.0.1", 9999), 8080, "eth0", "192.168.1.5")


def test_programs_that_refuse_leave_it_open(programs: Path):
    assert linux_firewall().on in (None, True), "True where this machine has ufw switched on"


def test_iptables_is_asked_where_nftables_cannot_say(programs: Path):
    says(programs, "nft", json.dumps(NFT))
    says(programs, "iptables", IPTABLES)
    found = linux_firewall()
    assert (found.udp, found.tcp) == ("unknown", "drop")


def test_iptables_is_not_asked_where_it_has_no_rules(programs: Path):
    says(programs, "nft", json.dumps({"nftables": []}))
    pretend(programs, "iptables", f"touch {programs / 'asked'}")
    linux_firewall()
    assert not (programs / "asked").exists() or "filter" in Path("/proc/self/net/ip_tables_names").read_text("ascii")


def test_firewalld_is_asked_for_what_its_rules_leave_open(programs: Path):
    says(programs, "firewall-cmd", ZONE)
    found = linux_firewall()
    assert (found.on, found.udp, found.tcp) == (True, "accept", "drop")


def test_program_that_hangs_is_not_waited_for(programs: Path):
    for name in ("nft", "iptables", "firewall-cmd"):
        pretend(programs, name, "exec sleep 60")
    start = time.monotonic()
    linux_firewall()
    assert time.monotonic() - start < 10.0


def test_system_without_a_known_firewall_has_none():
    assert probe_firewall("other", Address("224.0.0.1", 9999), 8080, "en0", "192.168.1.5") == Firewall()


@pytest.mark.skipif(sys.platform != "linux", reason="these programs are of other systems")
def test_firewalls_of_other_systems_are_not_there():
    group = Address("224.0.0.1", 9999)
    assert probe_firewall("macos", group, 8080, "en0", "192.168.1.5").on is None
    assert probe_firewall("windows", group, 8080, "Ethernet", "192.168.1.5").on is None


# ---------------------------------------------------------------- terminal


@pytest.mark.parametrize(
    ("colour", "env", "colours", "why"),
    [
        ("always", {"TERM": "xterm"}, "16", ""),
        ("always", {"TERM": "xterm-256color"}, "256", ""),
        ("always", {"TERM": "xterm", "COLORTERM": "truecolor"}, "16 million", ""),
        ("never", {"TERM": "xterm"}, "16", "setting `colour`"),
        ("auto", {"TERM": "xterm", "NO_COLOR": "1"}, "16", "NO_COLOR"),
        ("auto", {"TERM": "xterm"}, "16", "not a terminal"),
    ],
)
def test_terminal(colour: str, env: dict[str, str], colours: str, why: str):
    found = probe_terminal(colour, env)
    if os.name == "posix":
        assert found.colours == colours
    assert found.why_plain == why


def test_dumb_terminal_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert probe_terminal("auto", {"TERM": "dumb"}).why_plain == "TERM=dumb"
    assert probe_terminal("auto", {"TERM": "xterm"}).why_plain == ""
