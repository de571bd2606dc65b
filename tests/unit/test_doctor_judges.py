"""Each judge of the doctor: facts in, findings out."""

import errno

import pytest

from sandpiper.config import Address, Settings
from sandpiper.faces.doctor.checks import CHECKS, NETWORK, judge
from sandpiper.faces.doctor.facts import (
    Air,
    Card,
    Cards,
    Facts,
    Firewall,
    Folder,
    HeardPeer,
    Holder,
    Outcome,
    Ports,
    Profile,
    Reach,
    Strange,
    System,
    Terminal,
    Trouble,
    Voice,
)
from sandpiper.faces.doctor.findings import Finding
from sandpiper.faces.doctor.judges.folder import judge_data, judge_history
from sandpiper.faces.doctor.judges.interfaces import judge_interfaces
from sandpiper.faces.doctor.judges.multicast import judge_multicast
from sandpiper.faces.doctor.judges.peers import judge_clock, judge_peers
from sandpiper.faces.doctor.judges.ports import judge_firewall, judge_port
from sandpiper.faces.doctor.judges.reach import judge_reach
from sandpiper.faces.doctor.judges.terminal import judge_terminal

LO = Card(name="lo", addresses=("127.0.0.1", "::1"), multicast=False, loopback=True)
ETH = Card(name="eth0", addresses=("192.168.1.5", "fe80::5"))
WLAN = Card(name="wlan0", addresses=("10.0.0.7",))
VPN = Card(name="wg0", addresses=("10.9.0.2",), tunnel=True, multicast=False)
LAN = Cards(cards=(LO, ETH), default=("eth0",))
BOB = HeardPeer(nick="bob", key="b0", places=(Address("192.168.1.20", 8080),), skew=0.2)
OLD = HeardPeer(nick="olga", places=(Address("192.168.1.30", 8085),), answered=False, skew=0.0)


def voice(name: str = "eth0", address: str = "192.168.1.5", **more: object) -> Voice:
    return Voice(name=name, address=address, **more)  # type: ignore[arg-type]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    found = {finding.code: finding for finding in findings}
    assert len(found) == len(findings), findings
    return found


# ---------------------------------------------------------------- all of them


def test_healthy_machine_with_a_peer_has_no_complaint():
    facts = Facts(
        cards=LAN,
        air=Air(voices=(voice(),), peers=(BOB,), listened=1.2),
        reaches=(Reach(nick="bob", place=BOB.places[0]),),
    )
    findings = judge(facts)
    beyond = ("nat", "ipv6", "mapping", "direct")  # nothing is said of these where no relay is named
    assert [finding.check for finding in findings] == [check.name for check in CHECKS if check.name not in beyond]
    assert {finding.status for finding in findings} == {"ok"}


def test_checks_of_the_network_are_told_from_those_of_the_machine():
    assert frozenset(("port", "data", "history", "terminal")) == {check.name for check in CHECKS} - NETWORK


def test_every_complaint_says_why_and_how_to_mend_it():
    bad = Facts(
        cards=Cards(cards=(LO, Card(name="eth0", addresses=("192.168.1.5",), multicast=False), VPN), default=("wg0",)),
        air=Air(voices=(voice(heard=False),), peers=(HeardPeer(nick="eve", places=OLD.places, skew=4000.0),)),
        reaches=(Reach(nick="eve", place=OLD.places[0], outcome="timeout"),),
        ports=Ports(wanted=80, forbidden="Permission denied"),
        firewall=Firewall(tool="ufw", on=True, udp="drop", tcp="drop"),
        folder=Folder(mode=0o777, refused=Trouble(errno.EACCES, "Permission denied"), free=1000),
        terminal=Terminal(encoding="latin-1"),
    )
    complaints = [finding for finding in judge(bad) if finding.status != "ok"]
    assert {finding.check for finding in complaints} == {
        "interfaces", "multicast", "clock", "reach", "port", "firewall", "data", "terminal",
    }  # fmt: skip
    for finding in complaints:
        assert finding.why, finding
        assert finding.fix, finding


# ---------------------------------------------------------------- interfaces


def test_connected_interface_is_fine_and_no_default_route_is_no_fault():
    finding = only(judge_interfaces(Facts(cards=Cards(cards=(LO, ETH)))))
    assert (finding.status, finding.code) == ("ok", "connected")
    assert "no default route" in finding.seen
    assert finding.details == ("lo: 127.0.0.1, ::1", "eth0: 192.168.1.5, fe80::5")


def test_several_interfaces_are_named_with_the_setting_that_chooses():
    finding = only(judge_interfaces(Facts(cards=Cards(cards=(LO, ETH, WLAN), default=("eth0",)))))
    assert finding.status == "ok"
    assert "eth0, wlan0" in finding.seen
    assert "`interfaces`" in finding.seen
    assert "default route" not in finding.seen


@pytest.mark.parametrize(
    "card",
    [
        Card(name="eth0", addresses=("192.168.1.5",), up=False),
        Card(name="eth0", addresses=("192.168.1.5",), running=False),
        Card(name="eth0"),
        VPN,
    ],
    ids=["down", "no carrier", "no address", "vpn"],
)
def test_nothing_but_loopback_is_a_warning(card: Card):
    finding = by_code(judge_interfaces(Facts(cards=Cards(cards=(LO, card)))))["only_loopback"]
    assert finding.status == "warn"
    assert "ip -br address" in finding.fix[0]
    assert any(line.startswith(f"{card.name}: ") for line in finding.details)


def test_interface_in_the_settings_that_does_not_exist_fails():
    finding = only(judge_interfaces(Facts(cards=Cards(cards=(LO, ETH), missing=("eth9",)))))
    assert (finding.status, finding.code) == ("fail", "no_interface")
    assert "eth9" in finding.seen
    assert finding.fix[0].startswith("sandpiper config set interfaces ''")


def test_interface_that_the_settings_leave_out_is_told():
    left_out = Card(name="eth0", addresses=("192.168.1.5",), used=False)
    finding = only(judge_interfaces(Facts(cards=Cards(cards=(LO, left_out)))))
    assert (finding.status, finding.code) == ("warn", "left_out")
    assert "sandpiper config set interfaces eth0" in finding.fix[0]


def test_multicast_switched_off_is_told_with_the_command():
    dumb = Card(name="eth0", addresses=("192.168.1.5",), multicast=False)
    finding = by_code(judge_interfaces(Facts(cards=Cards(cards=(LO, dumb), default=("eth0",)))))["no_multicast"]
    assert finding.status == "warn"
    assert finding.fix == ("sudo ip link set dev eth0 multicast on",)


def test_vpn_with_the_default_route_is_a_warning_only_where_nobody_is_heard():
    cards = Cards(cards=(LO, ETH, VPN), default=("wg0",))
    alone = by_code(judge_interfaces(Facts(cards=cards)))["vpn"]
    assert alone.status == "warn"
    assert "wg0" in alone.seen
    heard = by_code(judge_interfaces(Facts(cards=cards, air=Air(peers=(BOB,)))))["vpn"]
    assert heard.status == "ok"


# ---------------------------------------------------------------- multicast


def test_beacons_that_come_back_work():
    air = Air(voices=(voice(), voice(address="fe80::5", v6=True)))
    finding = only(judge_multicast(Facts(cards=LAN, air=air)))
    assert (finding.status, finding.code) == ("ok", "works")
    assert finding.details == ("eth0 192.168.1.5: heard", "eth0 fe80::5: heard")


@pytest.mark.parametrize(
    ("number", "code", "fix"),
    [
        (errno.EPERM, "filtered_out", "sudo nft insert rule inet filter output udp dport 9999 accept"),
        (10013, "filtered_out", "sudo nft insert rule inet filter output udp dport 9999 accept"),
        (errno.ENETUNREACH, "no_way", "sudo ip link set dev eth0 up"),
        (errno.EHOSTUNREACH, "no_way", "sudo ip link set dev eth0 up"),
        (errno.ENODEV, "gone", "ip -br address"),
        (errno.EADDRNOTAVAIL, "gone", "ip -br address"),
        (errno.EADDRINUSE, "port_taken", "sudo ss -ulpn 'sport = :9999'"),
        (errno.ENOBUFS, "too_many", "sudo sysctl net.ipv4.igmp_max_memberships=200"),
        (0, "failed", "ip -br address"),
    ],
)
def test_refused_sending_names_its_cause(number: int, code: str, fix: str):
    facts = Facts(
        cards=LAN,
        air=Air(voices=(voice(heard=False, trouble=Trouble(number, "Said so")),)),
        firewall=Firewall(tool="nftables", on=True),
    )
    finding = only(judge_multicast(facts))
    assert (finding.status, finding.code) == ("fail", code)
    assert "eth0" in finding.seen
    assert "Said so" in finding.seen
    assert finding.fix[0] == fix
    assert "--peer HOST:PORT" in finding.fix[-1]


def test_beacons_that_do_not_come_back_are_filtered_by_this_machine():
    firewall = Firewall(tool="ufw", on=True, udp="drop")
    finding = only(judge_multicast(Facts(cards=LAN, air=Air(voices=(voice(heard=False),)), firewall=firewall)))
    assert (finding.status, finding.code) == ("fail", "filtered_in")
    assert "the firewall of this machine (ufw) does that" in finding.seen
    assert finding.fix[0] == "sudo ufw allow 9999/udp"


def test_one_interface_of_two_that_works_makes_it_a_warning_about_the_other():
    air = Air(voices=(voice(), voice("wlan0", "10.0.0.7", heard=False)))
    finding = only(judge_multicast(Facts(cards=Cards(cards=(LO, ETH, WLAN)), air=air)))
    assert (finding.status, finding.code) == ("warn", "filtered_in")
    assert "wlan0" in finding.seen
    assert "eth0" not in finding.seen


def test_each_cause_has_its_finding():
    air = Air(
        voices=(
            voice(heard=False, trouble=Trouble(errno.EPERM, "Operation not permitted")),
            voice("wlan0", "10.0.0.7", heard=False),
        )
    )
    findings = by_code(judge_multicast(Facts(cards=Cards(cards=(LO, ETH, WLAN)), air=air)))
    assert {code: finding.status for code, finding in findings.items()} == {
        "filtered_out": "fail",
        "filtered_in": "fail",
    }


def test_ipv6_alone_is_a_warning_and_ipv4_alone_is_fine():
    deaf4 = Air(voices=(voice(heard=False), voice(address="fe80::5", v6=True)))
    finding = only(judge_multicast(Facts(cards=LAN, air=deaf4)))
    assert finding.status == "warn"
    assert "work by IPv6" in finding.seen
    deaf6 = Air(voices=(voice(), voice(address="fe80::5", v6=True, heard=False)))
    finding = only(judge_multicast(Facts(cards=LAN, air=deaf6)))
    assert finding.status == "ok"
    assert finding.details[1] == "eth0 fe80::5: sent, not heard"


def test_loopback_counts_only_where_there_is_nothing_else():
    lo = voice("lo", "127.0.0.1", loopback=True)
    assert only(judge_multicast(Facts(cards=Cards(cards=(LO,)), air=Air(voices=(lo,))))).status == "ok"
    finding = only(judge_multicast(Facts(cards=LAN, air=Air(voices=(lo, voice(heard=False))))))
    assert finding.status == "fail"


def test_interface_without_a_carrier_is_not_blamed():
    docker = Card(name="docker0", addresses=("172.17.0.1",), running=False)
    air = Air(voices=(voice(), voice("docker0", "172.17.0.1", heard=False)))
    assert only(judge_multicast(Facts(cards=Cards(cards=(LO, ETH, docker)), air=air))).status == "ok"


def test_no_interface_at_all_is_said():
    assert only(judge_multicast(Facts())).code == "not_tried"


# ---------------------------------------------------------------- peers


def test_peers_are_listed_with_address_and_clock():
    finding = only(judge_peers(Facts(cards=LAN, air=Air(peers=(BOB, OLD)))))
    assert (finding.status, finding.code) == ("ok", "heard")
    assert finding.seen == "2 peers on other machines heard."
    assert finding.details == (
        "bob: 192.168.1.20:8080, clock +0.2 s",
        "olga: 192.168.1.30:8085, clock +0.0 s, old p2pchat",
    )


def test_clock_that_is_right_has_no_minus():
    bob = HeardPeer(nick="bob", key="b0", places=BOB.places, skew=-0.001)
    assert only(judge_peers(Facts(cards=LAN, air=Air(peers=(bob,))))).details[0].endswith("clock +0.0 s")


def test_nobody_heard_names_both_reasons_and_the_way_around():
    facts = Facts(cards=LAN, air=Air(listened=6.5), ports=Ports(free=8081))
    finding = only(judge_peers(facts))
    assert (finding.status, finding.code) == ("warn", "nobody")
    assert "nobody runs sandpiper" in finding.why
    assert "filters multicast" in finding.why
    assert any(step.endswith("sandpiper --peer 192.168.1.5:8081") for step in finding.fix)


def test_nobody_heard_is_put_down_to_this_machine_where_its_beacons_fail():
    lo = voice("lo", "127.0.0.1", loopback=True)
    finding = only(judge_peers(Facts(cards=LAN, air=Air(voices=(lo, voice(heard=False))))))
    assert "see multicast" in finding.why
    assert finding.fix[0].startswith("Mend multicast first")
    finding = only(judge_peers(Facts(cards=LAN, air=Air(voices=(lo, voice())))))
    assert "see multicast" not in finding.why


def test_nobody_else_heard_names_the_port_of_the_peer_here():
    mine = HeardPeer(nick="me", key="aa", places=(Address("192.168.1.5", 8099),), here=True)
    finding = only(judge_peers(Facts(cards=LAN, air=Air(peers=(mine,)))))
    assert finding.seen.startswith("Nobody else")
    assert any(step.endswith("--peer 192.168.1.5:8099") for step in finding.fix)


def test_peers_here_are_enough_where_there_is_only_loopback():
    mine = HeardPeer(nick="me", key="aa", places=(Address("127.0.0.1", 8080),), here=True)
    assert only(judge_peers(Facts(cards=Cards(cards=(LO,)), air=Air(peers=(mine,))))).status == "ok"


def test_peer_that_is_dialled_but_not_heard_proves_that_multicast_is_filtered():
    place = Address("192.168.1.20", 8080)
    reach = Reach(nick="", place=place, given=True, heard=False)
    finding = only(judge_peers(Facts(cards=LAN, air=Air(listened=6.5), reaches=(reach,))))
    assert (finding.status, finding.code) == ("warn", "multicast_filtered")
    assert "sandpiper --peer 192.168.1.20:8080" in finding.fix[0]
    assert "/connect 192.168.1.20:8080" in finding.fix[0]


def test_given_peer_that_is_heard_or_not_reached_proves_nothing():
    place = BOB.places[0]
    heard = Reach(nick="bob", place=place, given=True, heard=True)
    assert only(judge_peers(Facts(cards=LAN, air=Air(peers=(BOB,)), reaches=(heard,)))).code == "heard"
    lost = Reach(nick="", place=place, given=True, heard=False, outcome="timeout")
    assert only(judge_peers(Facts(cards=LAN, reaches=(lost,)))).code == "nobody"


def test_peer_that_does_not_answer_does_not_hear_us():
    deaf = HeardPeer(nick="bob", key="b0", places=BOB.places, answered=False)
    findings = by_code(judge_peers(Facts(cards=LAN, air=Air(peers=(deaf, OLD)))))
    assert findings["one_way"].status == "warn"
    assert findings["one_way"].seen == "bob can be heard, but did not answer."
    assert findings["one_way"].fix[-1] == "or here: sandpiper --peer 192.168.1.20:8080"


def test_other_version_is_a_warning_and_other_programs_are_not():
    noise = Strange("192.168.1.66", "A datagram is not a beacon.")
    newer = Strange("192.168.1.67", "A beacon of version 2 cannot be read.", version=True)
    found = by_code(judge_peers(Facts(cards=LAN, air=Air(peers=(BOB,), strange=(noise,)))))
    assert found["strange"].status == "ok"
    found = by_code(judge_peers(Facts(cards=LAN, air=Air(peers=(BOB,), strange=(noise, newer)))))
    assert found["other_version"].status == "warn"
    assert "192.168.1.67" in found["other_version"].seen
    assert "192.168.1.66" not in found["other_version"].seen


# ---------------------------------------------------------------- clock


def skewed(nick: str, seconds: float | None, key: str = "b0") -> HeardPeer:
    return HeardPeer(nick=nick, key=key, places=BOB.places, skew=seconds)


def test_clocks_that_agree_are_fine():
    finding = only(judge_clock(Facts(air=Air(peers=(skewed("bob", 29.9), skewed("eve", -3.0))))))
    assert finding.status == "ok"
    assert "2 peers and this one agree within 29.9 s" in finding.seen


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (30.1, "30 seconds ahead of this one"),
        (-31.0, "31 seconds behind this one"),
        (600.0, "10 minutes ahead of this one"),
        (-7200.0, "2 hours behind this one"),
        (864000.0, "10 days ahead of this one"),
    ],
)
def test_one_wrong_clock_is_named_with_its_way(seconds: float, words: str):
    finding = only(judge_clock(Facts(air=Air(peers=(skewed("bob", seconds), skewed("eve", 0.0))))))
    assert (finding.status, finding.code) == ("warn", "skewed")
    assert finding.seen == f"The clock of bob is {words}."
    assert "timedatectl" in finding.fix[0]


def test_all_clocks_off_by_the_same_are_ours():
    finding = only(judge_clock(Facts(air=Air(peers=(skewed("bob", 3600.0), skewed("eve", 3610.0))))))
    assert finding.code == "own_clock"
    assert "this machine's clock is 60 minutes behind" in finding.seen
    assert finding.fix == ("sudo timedatectl set-ntp true",)


def test_clocks_that_are_off_by_different_amounts_are_not_ours():
    finding = only(judge_clock(Facts(air=Air(peers=(skewed("bob", 3600.0), skewed("eve", -3600.0))))))
    assert finding.code == "skewed"


def test_wrong_clock_of_an_old_peer_says_that_it_refuses_messages():
    old = only(judge_clock(Facts(air=Air(peers=(skewed("olga", 100.0, key=""),)))))
    assert "refuses messages" in old.why
    new = only(judge_clock(Facts(air=Air(peers=(skewed("bob", 100.0),)))))
    assert "refuses messages" not in new.why


def test_no_clock_to_compare_with_is_said():
    assert only(judge_clock(Facts(air=Air(peers=(skewed("bob", None),))))).code == "not_compared"


# ---------------------------------------------------------------- reach


def reached(nick: str, outcome: Outcome = "ok", **more: object) -> Reach:
    return Reach(nick=nick, place=Address("192.168.1.20", 8080), outcome=outcome, **more)  # type: ignore[arg-type]


def test_peers_that_can_be_dialled_are_fine():
    finding = only(judge_reach(Facts(reaches=(reached("bob", ms=0.8), reached("eve", ms=2.0)))))
    assert (finding.status, finding.code) == ("ok", "dialled")
    assert finding.details == ("bob 192.168.1.20:8080: 0.8 ms", "eve 192.168.1.20:8080: 2.0 ms")


def test_nobody_to_dial_is_fine():
    assert only(judge_reach(Facts())).status == "ok"


@pytest.mark.parametrize("outcome", ["timeout", "unreachable"])
def test_beacons_without_tcp_are_a_firewall_with_commands_for_every_system(outcome: Outcome):
    finding = only(judge_reach(Facts(reaches=(reached("bob", outcome),))))
    assert (finding.status, finding.code) == ("fail", "tcp_blocked")
    assert "beacons arrive and TCP does not" in finding.why
    text = "\n".join(finding.fix)
    for word in ("ufw allow 8080:8999/tcp", "--add-port=8080-8999/tcp", "tcp dport 8080-8999", "New-NetFirewallRule"):
        assert word in text
    assert "On this machine:" not in text


def test_port_outside_the_range_is_opened_itself():
    reach = Reach(nick="bob", place=Address("192.168.1.20", 5555), outcome="timeout")
    assert "ufw: sudo ufw allow 5555/tcp" in "\n".join(only(judge_reach(Facts(reaches=(reach,)))).fix)


def test_firewalls_on_both_sides_are_both_told():
    firewall = Firewall(tool="ufw", on=True, tcp="drop")
    finding = only(judge_reach(Facts(reaches=(reached("bob", "timeout"),), firewall=firewall)))
    assert "  sudo ufw allow 8080:8999/tcp" in finding.fix[finding.fix.index("On this machine:") :]


def test_one_of_two_that_cannot_be_dialled_is_a_warning():
    finding = only(judge_reach(Facts(reaches=(reached("bob"), reached("eve", "timeout")))))
    assert finding.status == "warn"
    assert finding.seen.startswith("eve cannot")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("refused", "tcp_refused"), ("silent", "not_sandpiper"), ("stranger", "not_sandpiper"), ("error", "dial_failed")],
)
def test_each_kind_of_failure_has_its_finding(outcome: Outcome, code: str):
    finding = only(judge_reach(Facts(reaches=(reached("bob", outcome, text="It said so"),))))
    assert (finding.status, finding.code) == ("fail", code)
    assert finding.why
    assert finding.fix


def test_peer_on_this_machine_is_not_blamed_on_the_network():
    assert only(judge_reach(Facts(reaches=(reached("me", "timeout", here=True),)))).code == "own_peer_hangs"


# ---------------------------------------------------------------- port and firewall


def test_free_port_is_fine_and_taken_ones_before_it_are_named():
    assert only(judge_port(Facts())).seen == "Port 8080 is free."
    ports = Ports(free=8081, taken=(Holder(port=8080, pid=12, program="nginx"),))
    finding = only(judge_port(Facts(ports=ports)))
    assert finding.status == "ok"
    assert finding.seen == "Port 8081 is the first free one."
    assert finding.details == ("8080: nginx (process 12)",)


def test_wanted_port_in_use_fails_with_who_and_the_next_free_one():
    ports = Ports(wanted=8123, free=8080, taken=(Holder(port=8123, pid=12, program="nginx"),))
    finding = only(judge_port(Facts(settings=Settings(port=8123), ports=ports)))
    assert (finding.status, finding.code) == ("fail", "port_in_use")
    assert finding.seen == "Port 8123 is in use by nginx (process 12)."
    assert finding.fix[0] == "sandpiper --port 8080"


def test_holder_that_cannot_be_seen_has_the_command_that_shows_it():
    ports = Ports(wanted=8123, free=8080, taken=(Holder(port=8123),))
    finding = only(judge_port(Facts(settings=Settings(port=8123), ports=ports)))
    assert finding.fix[0] == "sudo ss -tlpn 'sport = :8123'"


def test_wanted_port_that_our_own_program_has_is_only_a_warning():
    ports = Ports(wanted=8123, free=8080, taken=(Holder(port=8123, pid=3, program="python", nick="alice"),))
    finding = only(judge_port(Facts(settings=Settings(port=8123), ports=ports)))
    assert (finding.status, finding.code) == ("warn", "port_is_ours")
    assert "alice" in finding.seen


def test_forbidden_port_and_no_port_at_all_fail():
    finding = only(judge_port(Facts(ports=Ports(wanted=80, free=8080, forbidden="Permission denied"))))
    assert (finding.status, finding.code) == ("fail", "port_forbidden")
    finding = only(judge_port(Facts(ports=Ports(free=None))))
    assert (finding.status, finding.code) == ("fail", "no_port")
    assert "sandpiper --port 9000" in finding.fix


def test_firewall_that_drops_is_told_with_its_own_commands():
    firewall = Firewall(tool="firewalld", on=True, udp="drop", tcp="drop")
    finding = only(judge_firewall(Facts(firewall=firewall)))
    assert (finding.status, finding.code) == ("warn", "drops")
    assert "UDP 9999 and TCP 8080 to 8999" in finding.seen
    assert finding.fix == (
        "sudo firewall-cmd --permanent --add-port=9999/udp",
        "sudo firewall-cmd --permanent --add-port=8080-8999/tcp",
        "sudo firewall-cmd --reload",
    )


def test_what_was_heard_counts_more_than_what_the_rules_seem_to_say():
    firewall = Firewall(tool="ufw", on=True, udp="drop", tcp="accept")
    finding = only(judge_firewall(Facts(firewall=firewall, air=Air(voices=(voice(),)))))
    assert finding.code == "lets_in"
    lo = voice("lo", "127.0.0.1", loopback=True)
    assert only(judge_firewall(Facts(firewall=firewall, air=Air(voices=(lo,))))).code == "drops"


def test_own_port_is_what_the_firewall_is_opened_for():
    firewall = Firewall(tool="iptables", on=True, udp="accept", tcp="drop")
    finding = only(judge_firewall(Facts(settings=Settings(port=9123), firewall=firewall)))
    assert finding.fix[0] == "sudo iptables -I INPUT -p tcp --dport 9123 -j ACCEPT"


def test_nftables_is_mended_in_the_chain_that_drops():
    firewall = Firewall(tool="nftables", on=True, tcp="drop", place="ip mine in")
    finding = only(judge_firewall(Facts(firewall=firewall)))
    assert finding.fix == ("sudo nft insert rule ip mine in tcp dport 8080-8999 accept",)


@pytest.mark.parametrize(
    ("system", "firewall", "code", "word"),
    [
        ("linux", Firewall(on=False), "none", ""),
        ("linux", Firewall(on=None), "unknown", "sudo nft list ruleset"),
        ("linux", Firewall(tool="ufw", on=True), "unknown", "sudo ufw allow 9999/udp"),
        ("linux", Firewall(tool="nftables", on=True, udp="accept", tcp="accept"), "lets_in", ""),
        ("macos", Firewall(tool="macos", on=True), "unknown", "socketfilterfw --unblockapp"),
        ("macos", Firewall(tool="macos", on=False), "none", ""),
        ("windows", Firewall(tool="windows", on=True), "unknown", "New-NetFirewallRule"),
        ("other", Firewall(on=None), "unknown", "Allow incoming TCP 8080-8999"),
    ],
)
def test_firewall_that_may_be_open_is_no_complaint(system: System, firewall: Firewall, code: str, word: str):
    finding = only(judge_firewall(Facts(system=system, firewall=firewall)))
    assert (finding.status, finding.code) == ("ok", code)
    assert word in "\n".join(finding.fix)


# ---------------------------------------------------------------- data, history, terminal


def test_writable_folder_and_one_that_is_not_there_yet_are_fine():
    assert only(judge_data(Facts())).code == "writable"
    finding = only(judge_data(Facts(folder=Folder(exists=False, mode=None))))
    assert (finding.status, finding.code) == ("ok", "fresh")


def test_folder_that_cannot_be_written_fails_with_the_cause():
    folder = Folder(path="/x/my data", refused=Trouble(errno.EACCES, "Permission denied"), foreign=True)
    finding = only(judge_data(Facts(folder=folder)))
    assert (finding.status, finding.code) == ("fail", "not_writable")
    assert "Permission denied" in finding.seen
    assert finding.fix[:2] == ("sudo chown -R \"$(id -un)\" '/x/my data'", "chmod 700 '/x/my data'")


def test_folder_that_cannot_be_made_has_the_command_that_makes_it():
    folder = Folder(path="/x/y", exists=False, mode=None, refused=Trouble(errno.EACCES, "/x does not let us"))
    finding = only(judge_data(Facts(folder=folder)))
    assert finding.status == "fail"
    assert finding.fix[0] == "mkdir -m 700 -p /x/y"


def test_full_disk_fails_once():
    folder = Folder(refused=Trouble(errno.ENOSPC, "No space left on device"), full=True, free=0)
    finding = only(judge_data(Facts(folder=folder)))
    assert (finding.status, finding.code) == ("fail", "disk_full")


@pytest.mark.parametrize(("free", "status"), [(99_999_999, "warn"), (5_000_000, "warn"), (4_999_999, "fail")])
def test_little_space_is_told(free: int, status: str):
    assert by_code(judge_data(Facts(folder=Folder(free=free))))["little_space"].status == status


def test_enough_and_unknown_space_are_fine():
    for free in (100_000_000, None):
        assert only(judge_data(Facts(folder=Folder(free=free)))).status == "ok"


def test_what_others_can_read_is_told_with_commands():
    profile = Profile(
        name="alice", path="/d/profiles/alice", mode=0o750, loose=(("/d/profiles/alice/history.db", 0o644),)
    )
    finding = by_code(judge_data(Facts(folder=Folder(path="/d", mode=0o777, profiles=(profile,)))))["open_to_others"]
    assert finding.status == "warn"
    assert finding.details[0] == "/d: mode 0777, should be 0700"
    assert finding.fix == (
        "chmod 700 /d",
        "chmod 700 /d/profiles/alice",
        "chmod 600 /d/profiles/alice/history.db",
    )


def test_folder_that_others_may_only_look_into_is_fine():
    folder = Folder(mode=0o755, profiles_mode=0o755, profiles=(Profile(name="alice", path="/d/profiles/alice"),))
    assert only(judge_data(Facts(folder=folder))).status == "ok"
    assert "open_to_others" in by_code(judge_data(Facts(folder=Folder(profiles_mode=0o770))))


def test_identity_that_others_can_read_fails():
    profile = Profile(name="alice", path="/d/profiles/alice", loose=(("/d/profiles/alice/identity", 0o640),))
    finding = by_code(judge_data(Facts(folder=Folder(profiles=(profile,)))))["open_to_others"]
    assert finding.status == "fail"
    assert finding.seen.startswith("/d/profiles/alice/identity is open")


def test_rights_of_a_system_without_them_are_not_judged():
    profile = Profile(name="alice", path="C:\\d", mode=None)
    assert only(judge_data(Facts(system="windows", folder=Folder(mode=None, profiles=(profile,))))).status == "ok"


def test_foreign_owner_is_a_warning():
    profile = Profile(name="alice", path="/d/profiles/alice", foreign=True)
    finding = by_code(judge_data(Facts(folder=Folder(profiles=(profile,)))))["foreign_owner"]
    assert finding.status == "warn"
    assert finding.fix == ('sudo chown -R "$(id -un)" /d/profiles/alice',)


def test_whole_histories_are_listed_with_who_has_them_open():
    profiles = (
        Profile(name="alice", path="/a", bytes=2_500_000, version=1, running=True, pid=77),
        Profile(name="bob", path="/b", history="none"),
        Profile(name="eve", path="/e", history="unfinished", bytes=9_000_000_000),
    )
    finding = only(judge_history(Facts(folder=Folder(profiles=profiles))))
    assert (finding.status, finding.code) == ("ok", "whole")
    assert finding.details == (
        "alice: 2.5 MB, version 1, in use by process 77",
        "bob: no history yet",
        "eve: 9000.0 MB, too large to be looked through here",
    )


@pytest.mark.parametrize(
    ("state", "code"),
    [("damaged", "damaged"), ("unreadable", "unreadable"), ("foreign", "foreign_file"), ("newer", "newer_file")],
)
def test_history_that_cannot_be_used_fails(state: str, code: str):
    profile = Profile(name="alice", path="/a", history=state, history_text="said so", version=9)  # type: ignore[arg-type]
    finding = only(judge_history(Facts(folder=Folder(profiles=(profile,)))))
    assert (finding.status, finding.code) == ("fail", code)
    assert finding.why
    assert finding.fix


def test_damaged_files_kept_aside_are_listed():
    profile = Profile(name="alice", path="/a", aside=("/a/history.db.damaged-20261121-103000",))
    finding = by_code(judge_history(Facts(folder=Folder(profiles=(profile,)))))["kept_aside"]
    assert finding.status == "ok"
    assert finding.details == profile.aside


def test_no_profile_and_profiles_that_cannot_be_listed():
    assert only(judge_history(Facts())).code == "none"
    assert by_code(judge_history(Facts(folder=Folder(unread="/d/profiles: no"))))["unreadable"].status == "fail"


@pytest.mark.parametrize(
    ("terminal", "status"),
    [
        (Terminal(), "ok"),
        (Terminal(encoding="UTF8", tty=False, why_plain="not a terminal"), "ok"),
        (Terminal(encoding="ascii"), "warn"),
        (Terminal(encoding="no such thing"), "warn"),
        (Terminal(columns=39), "warn"),
        (Terminal(columns=39, tty=False), "ok"),
    ],
)
def test_terminal_that_cannot_show_text_is_a_warning(terminal: Terminal, status: str):
    assert only(judge_terminal(Facts(terminal=terminal))).status == status


# ---------------------------------------------------------------- fixes for every system


@pytest.mark.parametrize("system", ["linux", "macos", "windows", "other"])
def test_every_system_has_a_fix_for_every_complaint(system: System):
    tools = {"macos": "macos", "windows": "windows"}
    firewall = Firewall(tool=tools.get(system, ""), on=True, udp="drop", tcp="drop")  # type: ignore[arg-type]
    for number in (0, errno.EPERM, errno.ENETUNREACH, errno.EADDRINUSE, errno.ENOBUFS):
        air = Air(voices=(voice(heard=False, trouble=Trouble(number, "no")),), peers=(skewed("bob", 4000.0),))
        facts = Facts(
            system=system,
            cards=LAN,
            air=air,
            firewall=firewall,
            ports=Ports(wanted=1, taken=(Holder(port=1),)),
            folder=Folder(mode=0o777, refused=Trouble(errno.EACCES, "no"), foreign=True),
            terminal=Terminal(encoding="ascii"),
        )
        for finding in judge(facts):
            assert finding.status == "ok" or all(finding.fix), finding
